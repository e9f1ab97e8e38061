"""Is the loss that we reach within 1 % of PEFT's with the same settings?

usage: training.py --report REPORT --adapter NAME --peer SUMMARY_OF_PEFT_TRAIN
SUMMARY_OF_PEFT_TRAIN holds the JSON lines of peft_train.py; the last one has `nll`.
"""
import argparse
import json
from pathlib import Path

from common import report, say

parser = argparse.ArgumentParser()
parser.add_argument("--report", required=True)
parser.add_argument("--adapter", required=True)
parser.add_argument("--peer", required=True)
args = parser.parse_args()

ours = report(args.report)[args.adapter]["nll"]
peer = json.loads(Path(args.peer).read_text().splitlines()[-1])["nll"]
difference = abs(ours - peer) / peer
say("held-out loss after training: PEFT", round(ours, 4), round(peer, 4), f"{difference:.2%}", difference <= 0.01)
