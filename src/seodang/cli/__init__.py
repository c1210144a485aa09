"""One verb, one call; a verb imports its code only when it is asked for."""
