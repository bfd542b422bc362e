"""What a model is asked while it is measured: long answers of many kinds, and short ones that stop by themselves."""

SUBJECTS = (
    *("bees", "volcanoes", "the moon", "bread", "chess", "whales", "steam engines", "coral reefs", "glaciers"),
    *("violins", "cheese", "lighthouses", "honey", "jazz", "bicycles", "tea", "deserts", "robots", "castles"),
    *("rainbows", "trains", "owls", "coffee", "maps", "clocks", "rivers", "bridges", "mushrooms", "sailing", "paper"),
    *("comets", "gardens", "football", "salt", "photography", "earthquakes", "libraries", "penguins", "glass"),
    *("windmills", "spices", "submarines", "poetry", "ants", "telescopes", "markets", "caves", "kites", "pottery"),
    *("snow", "harbours", "lemons"),
)
LONG = (
    "Write a long story about {} for a child who loves science, with many details and a happy end.",
    "Explain in depth how {} changed the history of human society, with examples from several countries.",
    "List ten surprising facts about {} and explain each of them in one full sentence.",
    "You are a teacher. Prepare a lesson on {} with goals, a short quiz, and the correct answers.",
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
    "Give me one word that rhymes with cat.",
    "What language is spoken in Brazil?",
    "Name the largest ocean.",
    "What do bees make?",
    "What is the opposite of hot?",
    "In which month is Christmas?",
    "What is the chemical symbol for gold?",
    "How many days has a week?",
    "Name one fruit that is yellow.",
    "What is the boiling point of water in degrees Celsius?",
    "Which animal says meow?",
    "What do you call a baby dog?",
    "Name the first month of the year.",
    "What gas do plants take in?",
    "Which metal is liquid at room temperature?",
    "Translate the word cat into Spanish.",
)


def all_prompts() -> list[str]:
    """Every prompt, in the one order that gives each its number."""
    return [form.format(subject) for subject in SUBJECTS for form in LONG] + list(SHORT)
