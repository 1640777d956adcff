"""What a schema has beyond tables: views, rules, triggers, functions, policies, sequences.

make() returns units of DDL (each one can be left out when a plan is shrunk) and statements to go with them.
"""

FEATURES = {}


def make(chooser, tables, features, kinds):
    return [], []
