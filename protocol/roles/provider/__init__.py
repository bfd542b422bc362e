"""The provider: from a request that it could serve to the batch that pays for it."""
