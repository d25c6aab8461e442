"""Small stories made on the spot, of two kinds: where somebody is, and whether. For trials and tests."""

import random

from nsc_deploy.data.stories import Asked, Corpus, Story, build_corpus

ACTORS = ("John", "Mary", "Sandra")
PLACES = ("garden", "kitchen", "office")
VERBS = ("went to", "moved to")
TASKS = (1, 2)


def make_toy_corpus(questions: int = 1000, seed: int = 0) -> Corpus:
    """Stories of two to eight moves, with a question after every second; task 1 asks where, task 2 whether.

    Args:
        questions: of the training part, both tasks together; validation and test have a fifth of it each.
        seed: the same seed gives the same stories.
    """
    drawn = random.Random(seed)  # noqa: S311 (stories, no secrets)
    few = max(2, questions // 5)
    return build_corpus(_make_part(drawn, questions), _make_part(drawn, few), _make_part(drawn, few))


def _make_part(drawn: random.Random, count: int) -> list[Story]:
    stories: list[Story] = []
    asked = 0
    while asked < count or len(stories) < len(TASKS):  # A small part asks something of each task too.
        stories.append(_make_story(drawn, TASKS[len(stories) % len(TASKS)]))
        asked += len(stories[-1].asked)
    return stories


def _make_story(drawn: random.Random, task: int) -> Story:
    where: dict[str, str] = {}
    statements: list[str] = []
    asked: list[Asked] = []
    for number in range(1, 2 * drawn.randint(1, 4) + 1):
        actor, place = drawn.choice(ACTORS), drawn.choice(PLACES)
        where[actor] = place
        statements.append(f"{actor} {drawn.choice(VERBS)} the {place}.")
        if number % 2 == 0:
            asked.append(_ask(drawn, task, where, number))
    return Story(task, tuple(statements), tuple(asked))


def _ask(drawn: random.Random, task: int, where: dict[str, str], after: int) -> Asked:
    actor = drawn.choice(sorted(where))
    if task == 1:
        return Asked(after, f"Where is {actor}?", where[actor])
    place = where[actor] if drawn.random() < 0.5 else drawn.choice(PLACES)
    return Asked(after, f"Is {actor} in the {place}?", "yes" if where[actor] == place else "no")
