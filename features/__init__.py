"""Customer tables in, point-in-time snapshots out, as Ibis expressions.

`project` describes a business, `tables` opens what it describes, `snapshot` turns the tables into one row a
customer as of a date. Nothing is re-exported here, so that reading a project file loads neither Ibis nor
pandas.
"""
