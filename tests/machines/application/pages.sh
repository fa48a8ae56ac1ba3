#!/bin/sh
# Says all that it was given, as people have it say who look for what it lacks.
env
