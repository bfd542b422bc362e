"""llama.cpp as an engine: answers in bfloat16 on processors, and checks of what another engine answered."""
