"""Tests of the contracts: in Solidity, run by forge, and of what only a look from outside can see."""
