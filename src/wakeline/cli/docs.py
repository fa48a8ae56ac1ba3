"""`wakeline docs [TOPIC]`: the annotated example, which is also a test and the schema's text."""

from __future__ import annotations

import difflib
import json
from pathlib import Path

from wakeline.cli.result import Result
from wakeline.errors import Usage
from wakeline.fleet import example, json_schema


def run(folder: Path, *, topic: str = "", schema: bool = False) -> Result:
    """Needs no repository. Raises Usage for a topic that there is not."""
    del folder
    if schema:
        found = json_schema()
        return Result("docs", found, lines=json.dumps(found, indent=2).splitlines())
    topics = example.topics()
    if topic and topic not in topics:
        close = difflib.get_close_matches(topic, topics, n=1)
        guess = f"did you mean `{close[0]}`? " if close else ""
        raise Usage(f"there is no topic {topic!r}", hint=f"{guess}topics: {', '.join(topics)}")
    text = topics[topic] if topic else "\n".join(topics.values())
    return Result("docs", {"topics": list(topics), "text": text}, lines=text.splitlines())
