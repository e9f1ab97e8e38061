//! Two adapters side by side: how large each one's ΔW is, and whether they point the same way. All through the factors:
//! ⟨B₁A₁, B₂A₂⟩ = Σ (B₁ᵀB₂) ∘ (A₁A₂ᵀ), two matrices of (r₁, r₂).
use crate::linalg::{Matrix, product_norm};
use crate::{Adapter, Error, Fault};

/// Two ΔW compared; norms are Frobenius'.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// ‖ΔW‖ of the first and of the second; 0 where one has no such module.
    pub norms: (f64, f64),
    /// ⟨ΔW₁, ΔW₂⟩ ÷ (‖ΔW₁‖·‖ΔW₂‖); None if one of them is zero.
    pub cosine: Option<f64>,
    /// ‖ΔW₂ − ΔW₁‖.
    pub distance: f64,
}

/// Two adapters compared.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterDiff {
    /// By module path: the first's modules in its order, then those that only the second has.
    pub modules: Vec<(String, Comparison)>,
    /// All modules as one long vector.
    pub total: Comparison,
}

/// Σ of squares and products of some modules.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    first: f64,
    second: f64,
    both: f64,
    distance: f64,
}

impl Sums {
    fn add(&mut self, other: Self) {
        self.first += other.first;
        self.second += other.second;
        self.both += other.both;
        self.distance += other.distance;
    }

    fn comparison(self) -> Comparison {
        let norms = (self.first.sqrt(), self.second.sqrt());
        let cosine = (self.first > 0.0 && self.second > 0.0)
            .then(|| self.both / (self.first * self.second).sqrt());
        Comparison {
            norms,
            cosine,
            distance: self.distance.sqrt(),
        }
    }
}

/// s·B and Aᵀ of one module.
struct Side {
    b: Matrix,
    a: Matrix,
}

impl Side {
    fn of(adapter: &Adapter, index: usize, expert: usize) -> Self {
        let module = &adapter.modules[index];
        let (a, b) = adapter.factors_of(index, expert);
        Self {
            b: Matrix::from_rows(b, module.rank).scale(f64::from(module.scaling)),
            a: Matrix::from_columns(a, module.in_features),
        }
    }

    fn inner(&self, other: &Self) -> f64 {
        self.b.gram(&other.b).inner(&self.a.gram(&other.a))
    }
}

/// Compares two adapters of the same base, module by module.
///
/// # Errors
/// When a module has another shape in each, or an adapter is more than low-rank factors.
pub fn diff(first: &Adapter, second: &Adapter) -> Result<AdapterDiff, Error> {
    let (first, second) = (&*first.as_low_rank()?, &*second.as_low_rank()?);
    let only_second = second
        .modules
        .iter()
        .filter(|module| first.find(&module.path).is_none());
    let paths = first
        .modules
        .iter()
        .chain(only_second)
        .map(|module| module.path.as_str());
    let (mut modules, mut total) = (Vec::new(), Sums::default());
    for path in paths {
        let sums = compare(first, second, path)?;
        total.add(sums);
        modules.push((path.to_owned(), sums.comparison()));
    }
    Ok(AdapterDiff {
        modules,
        total: total.comparison(),
    })
}

fn compare(first: &Adapter, second: &Adapter, path: &str) -> Result<Sums, Error> {
    let alone = |adapter: &Adapter, index: usize| {
        let experts = adapter.modules[index].experts().unwrap_or(1);
        let sides = (0..experts).map(|expert| Side::of(adapter, index, expert));
        sides.map(|side| side.inner(&side)).sum::<f64>()
    };
    match (first.find(path), second.find(path)) {
        (Some(i), Some(j)) => {
            let shape = |adapter: &Adapter, index: usize| {
                let module = &adapter.modules[index];
                let experts = module.experts();
                (experts, module.out_features, module.in_features)
            };
            let (one, two) = (shape(first, i), shape(second, j));
            if one != two {
                let [one, two] = [one, two].map(|(experts, out, inn)| match experts {
                    None => format!("({out}, {inn})"),
                    Some(experts) => format!("({experts}, {out}, {inn})"),
                });
                return Err(Error::config(
                    Fault::new(format!(
                        "{path}: the first adapter is for weights of shape {one}, the second for {two}"
                    ))
                    .hint("adapters can be compared only if they were trained on the same base"),
                ));
            }
            let mut all = Sums::default();
            for expert in 0..one.0.unwrap_or(1) {
                let sides = (Side::of(first, i, expert), Side::of(second, j, expert));
                all.add(side_by_side(sides));
            }
            Ok(all)
        }
        (Some(i), None) => {
            let square = alone(first, i);
            Ok(Sums {
                first: square,
                distance: square,
                ..Sums::default()
            })
        }
        (None, Some(j)) => {
            let square = alone(second, j);
            Ok(Sums {
                second: square,
                distance: square,
                ..Sums::default()
            })
        }
        (None, None) => Ok(Sums::default()),
    }
}

/// The sums of one matrix in both.
fn side_by_side((one, two): (Side, Side)) -> Sums {
    let (first, second, both) = (one.inner(&one), two.inner(&two), one.inner(&two));
    let apart = product_norm(one.b.scale(-1.0).beside(&two.b), one.a.beside(&two.a));
    Sums {
        first,
        second,
        both,
        distance: apart * apart,
    }
}
