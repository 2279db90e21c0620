"""Messages between nodes over ZeroMQ; the only user of zmq.

    node.py          Transport, the end of a node: listens, sends to peers, answers clients
    line.py          Line, the end of a client: one connection to one node
    calls.py         StoreCalls, asking a node's store over a Line
    connections.py   the DEALER sockets of a node, one per peer
    ends.py          which of several keys the other side has
    doors.py         the port, and the key that opens it
    routes.py        whose message came over which connection to the ROUTER
    wakeups.py       from edge-triggered sockets to one descriptor for the loop
    diagnosis.py     what went wrong with a connection, from the events of its socket
    zap.py           who may connect
    sockets.py       how every socket is set up
    curve.py         key pairs
    problems.py      the errors
    settings.py      the limits

What travels. A connection starts with the ROUTER learning the connecting side's routing id, `sender.number.target`: the
sender's node id, a number that the sender never uses twice, and the id of the node that the connection is meant for
(empty: whoever listens there, for clients and joining nodes). A message to a ROUTER is one frame, the encoded message.
An answer of a ROUTER over the same connection is two frames: the node id of who answers, and the encoded message.

Invariants:
1. What was sent to a node never reaches another one that listens at its address later: messages wait in the connection
   while it is being made, and the later node sees from the routing id that they are for somebody else.
2. No two connections share a routing id, so they can't take each other's place, over and over, at a ROUTER.
3. Nothing is read from, or sent to, who does not have the mesh key: CURVE on every socket, and ZAP: both ends of a
   connection show the key that the listening one has at that moment.
4. Nothing blocks but the receiving of a Line, and nothing that a peer does raises.

One thread per object. A context does not survive a fork, so a Transport or Line belongs to the process that made it.
"""
