"""A program of a user of LangChain: `ChatOpenAI` with the address of another server."""

import os

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI

model = ChatOpenAI(model=os.environ["MODEL"], max_tokens=8, temperature=0, max_retries=0)
talk = [SystemMessage("Answer in one word."), HumanMessage("Name a river.")]
said = model.invoke(talk)
assert isinstance(said, AIMessage)
assert said.content
assert said.usage_metadata["output_tokens"] <= 8
assert "".join(chunk.content for chunk in model.stream(talk)) == said.content
assert model.invoke([*talk, said, HumanMessage("And another one?")]).content
print(said.content)
