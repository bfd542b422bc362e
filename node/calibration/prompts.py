"""The prompts of a measurement.

Honest noise depends on what is written: digits and code come out about twice as noisy as prose, because their hidden
states lie closer together. So a third of the answers is made of such things, and some stop by themselves.
"""

from dataclasses import dataclass
from enum import StrEnum

SUBJECTS = (
    *("bees", "volcanoes", "the moon", "bread", "chess", "whales", "steam engines", "coral reefs", "glaciers"),
    *("violins", "cheese", "lighthouses", "jazz", "bicycles", "tea", "deserts", "robots", "castles", "rainbows"),
    *("trains", "owls", "maps", "clocks", "bridges", "mushrooms", "comets", "football", "salt", "libraries", "glass"),
)
PROSE = (
    "Write a long story about {} for a child who loves science, with many details and a happy end.",
    "Explain in depth how {} changed the history of human society, with examples from several countries.",
    "List ten surprising facts about {} and explain each of them in one full sentence.",
    "You are a teacher. Prepare a lesson on {} with goals, a short quiz, and the correct answers.",
)
THINGS = ("stamps", "guitars", "apples", "lamps", "shoes", "boats", "cameras", "chairs", "candles", "knives")
FORMAL = (
    "Make a Markdown table with the columns name, year, weight and price for ten {}.",
    "Write a JSON array of eight objects with id, name, price and tags for a shop that sells {}.",
    "Write SQL that creates a table of {} and inserts ten rows with different numbers.",
    "Write a Python class for a stock of {} with methods to add, remove and count, and a test.",
    "Write an HTML page that lists {} with their prices in euros.",
    "Write an invoice for twelve {} with item numbers, unit prices, dates and a total.",
)
NUMBERS = (
    *(f"Write the whole numbers from {start} on, separated by commas." for start in (1, 95, 1000, 7777, 123456)),
    *(f"What is {a} times {b}? Compute it step by step." for a, b in ((17, 23), (456, 789), (1234, 99), (31, 31))),
    *(f"Write the first fifty digits of {name}." for name in ("pi", "e", "the square root of two")),
    *(f"Write the multiplication table of {n} up to thirty." for n in (7, 12, 13)),
    *(f"Count down from {start} in steps of {step}." for start, step in ((1000, 7), (500, 3))),
    "How large is the Pacific Ocean in square kilometres and in square miles?",
    "List the populations of ten countries with exact figures.",
    "List the distances of the planets from the sun in kilometres.",
    "Write twenty telephone numbers of an imaginary town.",
    "Write the dates of all Mondays of the year 2024.",
)
OTHER = (
    *(f"Repeat the word {word} a hundred times." for word in ("yes", "banana", "zero")),
    *(
        f"Translate into {language}, then explain every word: The old man sold his red bicycle to a young sailor."
        for language in ("French", "German", "Spanish", "Italian", "Latin")
    ),
    "Write the alphabet forwards and backwards, several times.",
    "Write a poem of which every line begins with the letter A.",
    "Write random letters and digits, as for passwords, forty of them.",
    "Write a C program that sorts an array, with all its headers.",
    "Write a shell script that renames all files of a folder.",
    "Write ten regular expressions and say what each of them matches.",
    "Write the chemical formulas of twenty substances.",
    "Write a chess game in algebraic notation.",
)
SHORT = (
    "What is the capital of France?",
    "Say hello in one short sentence.",
    "Which planet is closest to the sun? Answer with one word.",
    "Is water wet? Answer yes or no.",
    "Name the colour of grass.",
    "How many legs does a spider have?",
    "What is two plus two?",
    "Who wrote Hamlet?",
    "What is 12 + 30? Answer with the number only.",
    "In which year did the Second World War end?",
    "Name the largest ocean.",
    "What is the chemical symbol for gold?",
    "What is the boiling point of water in degrees Celsius?",
    "Which animal says meow?",
    "What do you call a baby dog?",
    "Translate the word cat into Spanish.",
)


SEED_STRIDE = 101
"""Neighbouring numbers ask for unlike things. It shares no factor with how many prompts there are."""


class Family(StrEnum):
    """Kinds of prompts, each with its own noise; a client may ask for one of them only."""

    PROSE = "prose"
    FORMAL = "formal"
    NUMBERS = "numbers"
    OTHER = "other"
    SHORT = "short"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt. Answers to those of the family SHORT stop by themselves."""

    family: Family
    text: str


PROMPTS = (
    *(Prompt(Family.PROSE, form.format(subject)) for subject in SUBJECTS for form in PROSE),
    *(Prompt(Family.FORMAL, form.format(thing)) for thing in THINGS for form in FORMAL),
    *(Prompt(Family.NUMBERS, text) for text in NUMBERS),
    *(Prompt(Family.OTHER, text) for text in OTHER),
    *(Prompt(Family.SHORT, text) for text in SHORT),
)
"""Every prompt, in the one order that gives each its place."""


def place_of(number: int) -> int:
    """Which prompt answer `number` is to: all of them come before one comes again, then with another seed."""
    return number * SEED_STRIDE % len(PROMPTS)


def prompt_of(number: int) -> Prompt:
    return PROMPTS[place_of(number)]
