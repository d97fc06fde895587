"""Tasks of lm-eval in a folder, with documents of their own: nothing is downloaded."""

import json
from pathlib import Path

HEAD = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}, cache_dir: {cache}}}
test_split: test
output_type: {kind}
"""
CHOICE = """
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
doc_to_choice: "{{choices}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
"""
ROLLING = """
doc_to_text: ""
doc_to_target: "{{question}}"
metric_list:
  - {metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
  - {metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}
"""
NAMES = ["tiny_choice", "tiny_rolling"]


def write_tasks(folder: Path, *, long_choice: str = "") -> Path:
    """Write a task of every kind on twelve documents, some longer than the context."""
    data = folder / "data.jsonl"
    with data.open("w") as lines:
        for i in range(12):
            question = f"The {i}. answer stands {'here and ' * i}there, because"
            choices = [" yes", " no, it does not", f" of {i} cats{long_choice}"]
            lines.write(json.dumps({"question": question, "choices": choices, "answer": i % 3}) + "\n")
    common = {"data": data, "cache": folder / "cache"}
    kinds = {"tiny_choice": ("multiple_choice", CHOICE), "tiny_rolling": ("loglikelihood_rolling", ROLLING)}
    kinds["tiny_generation"] = ("generate_until", 'doc_to_text: "{{question}}"\ndoc_to_target: "{{answer}}"\n')
    for name, (kind, rest) in kinds.items():
        (folder / f"{name}.yaml").write_text(HEAD.format(name=name, kind=kind, **common) + rest)
    return folder
