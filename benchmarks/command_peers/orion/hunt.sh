#!/bin/sh
orion hunt -c config.yaml python objective.py -k~'uniform(9, 28, discrete=True)' -w~'uniform(1, 41, discrete=True)'
