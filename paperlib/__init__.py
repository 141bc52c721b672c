"""AlexNet (Krizhevsky, Sutskever and Hinton, 2012), made executable: where to find what.

Each line reads only those above it.

=================  ==========================================================================================
``errors``         the one error for whatever a user can mend; ``seeding``, ``files``, ``machine``, ``lazy`` (imports)
``paper``          what the paper says (``facts``) and what its numbers come to (``arithmetic``)
``recipe``         every choice of the paper and of the authors' code, a field each (``values``: what it may hold)
``nets``           ``layers``, ``lrn``, the paper's net (``alexnet``), ``others``, and the table of all (``table``)
``data``           ``images``, ``augment``, ``batches``; loading by name (``sets``), large sets (``pack``, ``packed``)
``training``       ``optim``, the ``loop``, ``evaluate``; a run's ``records`` and ``checkpoints``; ``towers``
``experiments``    ``scales``, their ``form``, those of Figure 1 (``relu``), and the list of all (``declared``)
``evidence``       recorded runs (``store``), ``metrics``, ``decide`` and its ``verdicts``, ``claims``
``figures``        a module a figure, ``tables``, the ``forests`` of comparisons, and drawing them all (``draw``)
``campaign``       training declared experiments; ``promote`` makes evidence of finished runs
``notebook``       what the notebooks say in tables; ``cli`` is the command ``paperlib``; ``check`` looks at a machine
=================  ==========================================================================================
"""
