"""GPT-1's analyses (Radford et al. 2018, sec. 5) as grids of runs that can be stopped and taken up again."""
