//! The inventory of words that the requests and the corpus are composed of, and the dice that choose among them.
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Weekdays and the two relative days; ISO dates are composed of digits.
pub(crate) const DAYS: &[&str] = &[
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "today",
    "tomorrow",
];
/// Priorities of the task API.
pub(crate) const PRIORITIES: &[&str] = &["low", "medium", "high"];
/// Tags of the task API.
pub(crate) const TAGS: &[&str] = &[
    "home", "work", "family", "health", "money", "travel", "hobby", "friends",
];
/// People.
pub(crate) const PEOPLE: &[&str] = &[
    "Anna", "Ben", "Carla", "David", "Elena", "Felix", "Grace", "Hugo", "Ines", "Jonas", "Kira",
    "Leo", "Maria", "Noah", "Olga", "Paul", "Rosa", "Sam", "Tara", "Viktor",
];
/// Where a task happens.
pub(crate) const PLACES: &[&str] = &[
    "at the office",
    "at the library",
    "at the bank",
    "at the station",
    "at the museum",
    "at the market",
    "at the clinic",
    "in Berlin",
    "in Oslo",
    "in Lima",
    "in Cairo",
    "in Rome",
    "in Kyoto",
];
/// Verbs and what they are done to: a title is a verb, one of its objects and perhaps a person or a place.
pub(crate) const ACTIONS: &[(&[&str], &[&str])] = &[
    (
        &["buy", "order", "fetch", "bring"],
        &[
            "milk",
            "bread",
            "coffee",
            "apples",
            "stamps",
            "flowers",
            "batteries",
            "tickets",
            "rice",
            "soap",
            "candles",
        ],
    ),
    (
        &["call", "email", "meet", "visit", "thank", "invite"],
        PEOPLE,
    ),
    (
        &["write", "send", "review", "print", "sign", "finish"],
        &[
            "the report",
            "the invoice",
            "the contract",
            "the letter",
            "the budget",
            "the slides",
            "the form",
            "the summary",
            "the offer",
            "the article",
        ],
    ),
    (
        &["clean", "fix", "paint", "measure", "inspect", "repair"],
        &[
            "the kitchen",
            "the bike",
            "the fence",
            "the garage",
            "the window",
            "the roof",
            "the desk",
            "the car",
            "the lamp",
            "the door",
            "the boat",
        ],
    ),
    (
        &["plan", "book", "prepare", "discuss"],
        &[
            "the party",
            "the trip",
            "dinner",
            "lunch",
            "the meeting",
            "the workshop",
            "the picnic",
            "the concert",
            "the tour",
        ],
    ),
    (
        &["water", "feed", "walk", "brush"],
        &[
            "the plants",
            "the cat",
            "the dog",
            "the horse",
            "the rabbits",
        ],
    ),
];
/// Adjectives that may stand between "the" and a noun.
pub(crate) const ADJECTIVES: &[&str] = &[
    "new", "old", "blue", "red", "small", "annual", "final", "second",
];

/// A random number generator keyed by (seed, purpose), with the choices that a grammar needs.
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    /// A stream of its own for each purpose.
    pub(crate) fn new(seed: u64, purpose: &str) -> Self {
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        for (slot, byte) in key[8..].iter_mut().zip(purpose.bytes()) {
            *slot = byte;
        }
        Self(ChaCha8Rng::from_seed(key))
    }
    /// Uniform in 0..n.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.0.next_u32()) * n as u64) >> 32) as usize
    }
    /// True in `percent` of 100 throws.
    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
    /// One of the given.
    pub(crate) fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
    /// Fisher–Yates.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// The title of a task: `call Anna`, `fix the old bike at the station`, `buy milk for Leo`.
pub(crate) fn title(dice: &mut Dice) -> String {
    let (verbs, objects) = ACTIONS[dice.below(ACTIONS.len())];
    let mut object = dice.pick(objects).to_string();
    if let Some(noun) = object.strip_prefix("the ").filter(|_| dice.percent(25)) {
        object = format!("the {} {noun}", dice.pick(ADJECTIVES));
    }
    let mut title = format!("{} {object}", dice.pick(verbs));
    match dice.below(10) {
        0..4 => {}
        4..6 if objects != PEOPLE => title += &format!(" for {}", dice.pick(PEOPLE)),
        6..8 if objects != PEOPLE => title += &format!(" with {}", dice.pick(PEOPLE)),
        _ => title += &format!(" {}", dice.pick(PLACES)),
    }
    title
}

/// When a task is due: a day's name, or in one of four cases an ISO date.
pub(crate) fn due(dice: &mut Dice) -> String {
    if dice.percent(25) {
        iso_date(dice)
    } else {
        dice.pick(DAYS).to_owned()
    }
}

/// A date of the year 2026.
pub(crate) fn iso_date(dice: &mut Dice) -> String {
    format!("2026-{:02}-{:02}", 1 + dice.below(12), 1 + dice.below(28))
}

/// One or two different tags.
pub(crate) fn tags(dice: &mut Dice) -> Vec<String> {
    let first = dice.below(TAGS.len());
    let mut tags = vec![TAGS[first].to_owned()];
    if dice.percent(40) {
        tags.push(TAGS[(first + 1 + dice.below(TAGS.len() - 1)) % TAGS.len()].to_owned());
    }
    tags
}
