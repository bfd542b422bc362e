"""A program of a user of LiteLLM, which names an OpenAI-compatible server by its address."""

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm

MODEL = f"openai/{os.environ['MODEL']}"
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "Name a river."}], "max_tokens": 8, "num_retries": 0}

said = litellm.completion(**ASK, temperature=0)
assert said.choices[0].message.content
assert said.usage.completion_tokens <= ASK["max_tokens"]
parts = [chunk.choices[0].delta.content or "" for chunk in litellm.completion(**ASK, temperature=0, stream=True)]
assert "".join(parts) == said.choices[0].message.content
found = litellm.embedding(model=MODEL, input=["a river"], encoding_format="float")
assert len(found.data) == 1
try:
    litellm.completion(**ASK | {"model": "openai/gpt-4"})
except litellm.NotFoundError as error:
    print(error)
else:
    raise AssertionError("an unknown model was accepted")
print(said.choices[0].message.content)
