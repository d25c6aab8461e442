"""Task 3 of bAbI ("Where was the apple before the garden?") made anew, as the published files show it.

The 10k training file of task 3 is not always at hand; this makes stories of the same kind and distribution.
Actions and what they do to places are those of the published simulator (Weston et al. 2015, BSD); how often
each happens and what is asked when is what the published 1k files of task 3 show, all 400 stories of them:

- statements come in pairs, and questions only between pairs;
- a question follows where one of the last two statements dropped a thing that had been carried to at least
  two places, and half the time where one carried it to its second; it asks for the place before one of those;
- the same is asked again after the next pair, once or twice;
- five questions end a story.

The answer is always the place known to be left for that place last (`place_before`), which holds for every
official question too.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from nsc_deploy.data.stories import Asked, Story

TASK = 3
ACTORS = ("Mary", "Sandra", "John", "Daniel")
PLACES = ("bathroom", "bedroom", "garden", "hallway", "kitchen", "office")
THINGS = ("apple", "football", "milk")
MOVES = ("went to", "went back to", "journeyed to", "travelled to", "moved to")
GETS = ("got", "took", "grabbed", "picked up")
DROPS = ("dropped", "left", "discarded", "put down")
QUESTIONS = 5
# Shares that give the statements, lengths and answers counted in those stories (29,506, 2,000 questions).
MOVE = 0.625
THERE = 0.2
ASKED_AFTER_SECOND_MOVE = 0.5
AGAIN_AFTER_DROP = (0.65, 0.42)
AGAIN_AFTER_MOVE = (0.12, 0.0)


def make_stories(count: int, seed: int) -> list[Story]:
    """`count` stories of five questions each; the same seed gives the same stories."""
    drawn = random.Random(seed)  # noqa: S311 (stories, no secrets)
    return [_make_story(drawn) for _ in range(count)]


def place_before(statements: Sequence[str], thing: str, place: str) -> str | None:
    """Where a thing was before the last time that it came to `place`, as far as a reader can know; else None.

    Args:
        statements: texts of the story so far.
        thing: for example "milk".
        place: for example "garden".
    """
    where: dict[str, str] = {}
    carrier: dict[str, str] = {}
    been: list[str] = []
    for text in statements:
        words = text.rstrip(".").removesuffix(" there").split()
        actor, last = words[0], words[-1]
        if last in PLACES:
            where[actor] = last
        elif " ".join(words[1:-2]) in GETS:
            carrier[last] = actor
        else:
            carrier.pop(last, None)
        here = where.get(carrier.get(thing, ""))
        if here is not None and (not been or been[-1] != here):
            been.append(here)
    came = [number for number in range(1, len(been)) if been[number] == place]
    return been[came[-1] - 1] if came else None


@dataclass
class _World:
    """Who and what is where while a story is made.

    Attributes:
        drawn: where chance comes from.
        actors: place of each actor.
        things: place of each thing that nobody holds.
        carrier: who holds a thing.
        carried: places that a thing was carried to since it was last taken.
        statements: the story.
    """

    drawn: random.Random
    actors: dict[str, str]
    things: dict[str, str]
    carrier: dict[str, str] = field(default_factory=dict)
    carried: dict[str, list[str]] = field(default_factory=dict)
    statements: list[str] = field(default_factory=list)

    def act(self) -> list[str]:
        """One statement; the things whose places it makes worth a question."""
        deeds = [] if self.drawn.random() < MOVE else self._deeds()
        if not deeds:
            return self._move()
        actor, thing = self.drawn.choice(deeds)
        there = " there" if self.drawn.random() < THERE else ""
        if thing in self.carrier:
            del self.carrier[thing]
            self.things[thing] = self.actors[actor]
            self.statements.append(f"{actor} {self.drawn.choice(DROPS)} the {thing}{there}.")
            return [thing] if len(self.carried[thing]) > 1 else []
        del self.things[thing]
        self.carrier[thing] = actor
        self.carried[thing] = []
        self.statements.append(f"{actor} {self.drawn.choice(GETS)} the {thing}{there}.")
        return []

    def _deeds(self) -> list[tuple[str, str]]:
        """Who can take or drop what."""
        gets = [
            (who, what) for what, place in self.things.items() for who in ACTORS if self.actors[who] == place
        ]
        return gets + [(who, what) for what, who in self.carrier.items()]

    def _move(self) -> list[str]:
        actor = self.drawn.choice(ACTORS)
        place = self.drawn.choice([place for place in PLACES if place != self.actors[actor]])
        self.actors[actor] = place
        self.statements.append(f"{actor} {self.drawn.choice(MOVES)} the {place}.")
        held = [thing for thing, who in self.carrier.items() if who == actor]
        for thing in held:
            self.carried[thing].append(place)
        return [thing for thing in held if len(self.carried[thing]) == 2]


def _make_story(drawn: random.Random) -> Story:
    world = _World(
        drawn,
        actors={actor: drawn.choice(PLACES) for actor in ACTORS},
        things={thing: drawn.choice(PLACES) for thing in THINGS},
    )
    asked: list[Asked] = []
    again: list[tuple[str, str, float]] = []
    while len(asked) < QUESTIONS:
        subject = _subject(world, world.act() + world.act())
        if subject is not None:
            thing, held = subject
            place = _place(world, thing)
            chances = AGAIN_AFTER_MOVE if held else AGAIN_AFTER_DROP
            again = [(thing, place, 1.0), *((thing, place, chance) for chance in chances)]
        if not again:
            continue
        thing, place, chance = again.pop(0)
        answer = place_before(world.statements, thing, place) if drawn.random() < chance else None
        if answer is None:
            again = []
            continue
        asked.append(Asked(len(world.statements), f"Where was the {thing} before the {place}?", answer))
    return Story(TASK, tuple(world.statements), tuple(asked))


def _subject(world: _World, things: list[str]) -> tuple[str, bool] | None:
    """The thing to ask for after a pair of statements, and whether it is held; None: nothing new to ask."""
    # A thing that was dropped and taken again within the pair has no places to ask for.
    things = [thing for thing in things if len(world.carried[thing]) > 1]
    if not things:
        return None
    thing = world.drawn.choice(things)
    held = thing in world.carrier
    return None if held and world.drawn.random() >= ASKED_AFTER_SECOND_MOVE else (thing, held)


def _place(world: _World, thing: str) -> str:
    """One of the places that a thing was carried to, but not the first of them."""
    return world.drawn.choice(world.carried[thing][1:])
