"""The scaffold, filled in plainly, as a process: what whole-script speed-ups are measured against.

python -m benchmarks.baseline -b DIR -c chr10 -s START -e END -k K -o OUT.npy
"""

from tuner_plugins.nmf.script.scaffold import main

if __name__ == "__main__":
    main()
