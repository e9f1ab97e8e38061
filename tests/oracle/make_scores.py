"""Writes tests/fixtures/scores: what sacrebleu, rouge-score and NLTK say of answers, row by row and as corpora, and of words.

Needs `pip install sacrebleu rouge-score`. Usage: make_scores.py tests/fixtures/scores
(the words of stems.json stay, their stems are written anew)."""
import json
import random
import sys

import nltk
import sacrebleu
from sacrebleu.metrics import BLEU, CHRF
from rouge_score import rouge_scorer
from nltk.stem.porter import PorterStemmer
random.seed(5)
words = """the a an cat sat on mat dog's running runner runs quickly quick brown fox jumps over lazy relational conditional
generalization oscillate happily happy enjoy enjoyed enjoying spies spied dying lying skies flies 3.14 1,000 10-12 e.g. U.S. don't "quoted"
(paren) [x] {y} &amp; &lt;b&gt; <skipped> foo-bar re-enter C++ #1 $5.00 50% naïve café Ünïcödé Привет, мир! 你好 世界。 😀 e-mail
well-known hyphen- dash— ... ?! ; : @user http://a.b/c?d=e path/to tab\\t 2024-05-06 5- -5 a,b 1.a a.1 nationality sensibility hopefulness
electrical formative adjustment adoption homologous bowdlerize controlling rolled agreed feed sized troubled filing falling hissing""".split()
def sentence(n): return " ".join(random.choice(words) for _ in range(n))
def noise(s):
    out = []
    for w in s.split(" "):
        r = random.random()
        if r < .12: continue
        if r < .24: out.append(random.choice(words))
        out.append(w if r < .9 else w.upper())
    return " ".join(out)
rows = []
for i in range(60):
    r = sentence(random.randint(1, 25)); refs = [r]
    while random.random() < .35: refs.append(noise(r))
    rows.append((noise(r) if i % 6 else sentence(random.randint(0, 12)), refs))
rows += [("", ["a b c"]), ("a b c", [""]), ("", [""]), ("a", ["a"]), ("ab", ["ab cd"]), ("Hello", ["Hello"]), ("x\ny-\nz", ["x y z"]), ("<|im_start|>yes", ["<|im_start|>no"]),
 ("the the the the", ["the cat"]), ("a b c d", ["a b c d"]), ("a b c", ["a b c"]), ("line one\nline two", ["line one line two"]), ("trailing  ", ["  trailing"]), ("a\u00a0b\u2028c", ["a b c"])]
bleu, chrf = BLEU(), CHRF()
rl = rouge_scorer.RougeScorer(["rougeL"]); rs = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=True)
def row(a, refs):
    stats = bleu._compute_segment_statistics(bleu._preprocess_segment(a), bleu._extract_reference_info([bleu._preprocess_segment(r) for r in refs]))
    cs = chrf._compute_segment_statistics(a, chrf._extract_reference_info(refs))
    return dict(answer=a, references=refs, bleu=bleu._compute_score_from_stats(stats).score, chrf=chrf._compute_score_from_stats(cs).score,
      rouge_l=rl.score_multi(refs, a)["rougeL"].fmeasure, rouge_l_stem=rs.score_multi(refs, a)["rougeL"].fmeasure)
def corpus(rows):
    n = max(len(r) for _, r in rows)
    streams = [[r[i] if i < len(r) else None for _, r in rows] for i in range(n)]
    hyp = [a for a, _ in rows]
    return dict(bleu=str(BLEU().corpus_score(hyp, streams)).split()[2], chrf=str(CHRF().corpus_score(hyp, streams)).split()[2], bleu_exact=BLEU().corpus_score(hyp, streams).score, chrf_exact=CHRF().corpus_score(hyp, streams).score)
ok = [r for r in rows if all(r[1])]
folder = sys.argv[1]
stemmer = PorterStemmer()
with open(f"{folder}/stems.json") as file:
    known = json.load(file)
with open(f"{folder}/stems.json", "w") as file:
    json.dump({word: stemmer.stem(word) for word in known}, file, indent=0)
out = dict(versions=dict(sacrebleu=sacrebleu.__version__, rouge_score="0.1.2", nltk=nltk.__version__),
  rows=[row(a, r) for a, r in rows], all=corpus(ok), first=corpus(ok[:10]), single=corpus([(a, r[:1]) for a, r in ok]))
with open(f"{folder}/scores.json", "w") as file:
    json.dump(out, file, ensure_ascii=False, indent=0)
