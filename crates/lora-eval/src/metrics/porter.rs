//! Porter's stemmer as NLTK extends it (`PorterStemmer.NLTK_EXTENSIONS`), which rouge-score uses. Words are a to z and
//! 0 to 9, in lower case.

/// Forms that the rules get wrong.
const IRREGULAR: [(&str, &str); 15] = [
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("innings", "inning"),
    ("inning", "inning"),
    ("outings", "outing"),
    ("outing", "outing"),
    ("cannings", "canning"),
    ("canning", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
];

/// Step 2: suffix and replacement where what is before has a vowel and a consonant.
const STEP_2: [(&str, &str); 21] = [
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("fulli", "ful"),
];

const STEP_3: [(&str, &str); 7] = [
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
];

const STEP_4: [&str; 19] = [
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou",
    "ism", "ate", "iti", "ous", "ive", "ize",
];

/// The stem of a word.
pub(crate) fn stem(word: &str) -> String {
    if word == "succeed" {
        return word.to_owned();
    }
    if let Some((_, stem)) = IRREGULAR.iter().find(|(form, _)| *form == word) {
        return (*stem).to_owned();
    }
    if word.len() <= 2 {
        return word.to_owned();
    }
    let word = step_1a(word);
    let word = step_1b(&word);
    let word = step_1c(word);
    let word = step_2(word);
    let word = step_3(word);
    let word = step_4(word);
    step_5(word)
}

fn step_1a(word: &str) -> String {
    if let Some(stem) = word.strip_suffix("ies") {
        let ending = if word.len() == 4 { "ie" } else { "i" };
        return stem.to_owned() + ending;
    }
    if word.ends_with("sses") {
        return word[..word.len() - 2].to_owned();
    }
    match word.strip_suffix('s') {
        Some(stem) if !word.ends_with("ss") => stem.to_owned(),
        _ => word.to_owned(),
    }
}

fn step_1b(word: &str) -> String {
    if let Some(stem) = word.strip_suffix("ied") {
        let ending = if word.len() == 4 { "ie" } else { "i" };
        return stem.to_owned() + ending;
    }
    if let Some(stem) = word.strip_suffix("eed") {
        let shorter = if measure(stem) > 0 { "ee" } else { "eed" };
        return stem.to_owned() + shorter;
    }
    let cut = ["ed", "ing"]
        .iter()
        .filter_map(|suffix| word.strip_suffix(suffix));
    let Some(stem) = cut.into_iter().find(|stem| has_vowel(stem)) else {
        return word.to_owned();
    };
    if ["at", "bl", "iz"].iter().any(|end| stem.ends_with(end)) {
        return stem.to_owned() + "e";
    }
    if ends_in_double_consonant(stem) {
        return match stem.ends_with(['l', 's', 'z']) {
            true => stem.to_owned(),
            false => stem[..stem.len() - 1].to_owned(),
        };
    }
    match measure(stem) == 1 && ends_in_cvc(stem) {
        true => stem.to_owned() + "e",
        false => stem.to_owned(),
    }
}

fn step_1c(word: String) -> String {
    match word.strip_suffix('y') {
        Some(stem) if stem.len() > 1 && consonants(stem).last() == Some(&true) => {
            stem.to_owned() + "i"
        }
        _ => word,
    }
}

fn step_2(word: String) -> String {
    if let Some(stem) = word.strip_suffix("alli").filter(|stem| measure(stem) > 0) {
        return step_2(stem.to_owned() + "al");
    }
    for (suffix, replacement) in STEP_2 {
        if let Some(stem) = word.strip_suffix(suffix) {
            return match measure(stem) > 0 {
                true => stem.to_owned() + replacement,
                false => word,
            };
        }
    }
    // The l of `logi` counts with the stem, so that `geo` and `theo` are long enough.
    match word
        .strip_suffix("ogi")
        .filter(|stem| stem.ends_with('l') && measure(stem) > 0)
    {
        Some(stem) => stem.to_owned() + "og",
        None => word,
    }
}

fn step_3(word: String) -> String {
    for (suffix, replacement) in STEP_3 {
        if let Some(stem) = word.strip_suffix(suffix) {
            return match measure(stem) > 0 {
                true => stem.to_owned() + replacement,
                false => word,
            };
        }
    }
    word
}

fn step_4(word: String) -> String {
    for suffix in STEP_4 {
        if let Some(stem) = word.strip_suffix(suffix) {
            let may_go = suffix != "ion" || stem.ends_with(['s', 't']);
            return match measure(stem) > 1 && may_go {
                true => stem.to_owned(),
                false => word,
            };
        }
    }
    word
}

/// Steps 5a and 5b.
fn step_5(word: String) -> String {
    let word = match word.strip_suffix('e') {
        Some(stem) if measure(stem) > 1 || measure(stem) == 1 && !ends_in_cvc(stem) => {
            stem.to_owned()
        }
        _ => word,
    };
    match word.strip_suffix('l') {
        Some(stem) if stem.ends_with('l') && measure(stem) > 1 => stem.to_owned(),
        _ => word,
    }
}

/// For each letter: is it a consonant? A y is one unless it follows one.
fn consonants(word: &str) -> Vec<bool> {
    let mut flags: Vec<bool> = Vec::with_capacity(word.len());
    for letter in word.bytes() {
        let is_one = match letter {
            b'a' | b'e' | b'i' | b'o' | b'u' => false,
            b'y' => flags.last().is_none_or(|before| !before),
            _ => true,
        };
        flags.push(is_one);
    }
    flags
}

/// How often a consonant follows a vowel: m of the paper.
fn measure(stem: &str) -> usize {
    let flags = consonants(stem);
    flags.windows(2).filter(|pair| !pair[0] && pair[1]).count()
}

fn has_vowel(stem: &str) -> bool {
    consonants(stem).contains(&false)
}

fn ends_in_double_consonant(word: &str) -> bool {
    let bytes = word.as_bytes();
    match bytes {
        [.., a, b] => a == b && consonants(word).last() == Some(&true),
        _ => false,
    }
}

/// Consonant, vowel, consonant that is no w, x or y; or a word of a vowel and a consonant.
fn ends_in_cvc(word: &str) -> bool {
    match consonants(word)[..] {
        [false, true] => true,
        [.., true, false, true] => !word.ends_with(['w', 'x', 'y']),
        _ => false,
    }
}
