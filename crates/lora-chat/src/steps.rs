//! Which of several answers, generated a token a step together, have ended with an end token: the decoder tells of new tokens
//! alone, so that such an answer is known by its silence in a step that others speak in.

/// The steps of a generation so far.
#[derive(Debug)]
pub(crate) struct Steps {
    /// The step in which each answer had its last token; none once it has ended.
    last: Vec<Option<usize>>,
    step: usize,
    /// The answer that had a token last: a step goes through them in order.
    before: Option<usize>,
}

impl Steps {
    pub(crate) fn new(answers: usize) -> Self {
        Self {
            last: vec![Some(0); answers],
            step: 1,
            before: None,
        }
    }

    /// An answer has a new token: those that had none in the step before have ended, and are told once.
    pub(crate) fn token(&mut self, number: usize) -> Vec<usize> {
        let mut ended = Vec::new();
        if self.before.is_some_and(|before| number <= before) {
            for (answer, last) in self.last.iter_mut().enumerate() {
                if last.is_some_and(|last| last < self.step) {
                    *last = None;
                    ended.push(answer);
                }
            }
            self.step += 1;
        }
        self.before = Some(number);
        self.last[number] = Some(self.step);
        ended
    }

    /// An answer was ended by whoever watches it.
    pub(crate) fn end(&mut self, number: usize) {
        self.last[number] = None;
    }

    /// Those that have not ended as far as is known.
    pub(crate) fn open(&self) -> Vec<usize> {
        let all = self.last.iter().enumerate();
        all.filter_map(|(answer, last)| last.map(|_| answer))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_an_end() {
        let mut steps = Steps::new(4);
        // 0 and 2 go on, 1 has no token at all, 3 is ended by its watcher.
        let told: Vec<Vec<usize>> = [0, 2, 3].map(|number| steps.token(number)).to_vec();
        assert!(told.concat().is_empty());
        steps.end(3);
        assert_eq!(steps.token(0), [1]);
        assert!(steps.token(2).is_empty());
        // 0 ends: 2 goes on alone.
        assert!(steps.token(2).is_empty());
        assert_eq!(steps.token(2), [0]);
        assert_eq!(steps.open(), [2]);
    }
}
