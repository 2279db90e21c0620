"""The numbers that stand for classes on the wire and in stores.

A number is never given to another class, not even when its class is gone: old logs hold it, and so may peers. A class
only ever gains fields at its end, with defaults (see `codec.py`); any other change of what is kept in a store is a new
class with a new number, and any other change of a message raises `wire.PROTOCOL_VERSION`.
"""

from meshflow.core import attempts, client_messages, graph, key_messages, member, messages, records, requests

TAGS: dict[int, type] = {
    # messages
    1: messages.Probe,
    2: messages.ProbeAck,
    3: messages.ProbeRequest,
    4: messages.ProbeNack,
    5: messages.Gossip,
    6: messages.Sync,
    7: messages.Offer,
    8: messages.Demand,
    9: messages.Work,
    10: messages.Reports,
    11: messages.ReportsAck,
    12: messages.Holding,
    13: messages.Cancel,
    14: messages.Stopping,
    15: messages.RunOpen,
    16: messages.Owned,
    17: messages.Signal,
    18: messages.SignalAnswer,
    19: client_messages.StoreAsk,
    20: client_messages.StoreAnswers,
    21: client_messages.Watch,
    22: client_messages.Watched,
    23: client_messages.AskStatus,
    24: client_messages.NodeStatus,
    25: client_messages.Drain,
    26: client_messages.Draining,
    27: key_messages.AskKeys,
    28: key_messages.UseKeys,
    29: key_messages.KeysHeld,
    # parts of messages
    40: messages.Finished,
    41: messages.Output,
    42: messages.Returned,
    43: attempts.Attempt,
    44: messages.Input,
    45: messages.Job,
    46: member.Member,
    47: messages.News,
    48: messages.Verdict,
    # records
    60: records.Claimed,
    61: records.TaskStarted,
    62: records.TaskEnded,
    63: records.StopAsked,
    64: records.DagStarted,
    65: records.DagEnded,
    66: records.RunEnded,
    67: records.Noted,
    68: records.Batch,
    69: records.RunRecord,
    70: records.Value,
    71: records.TasksQueued,
    72: records.DagRefused,
    # blueprints
    80: graph.TaskSpec,
    81: graph.Edge,
    82: graph.DagSpec,
    83: graph.WorkflowSpec,
    84: graph.DagDefinition,
    # what is asked of a store, and answered
    90: requests.CreateRun,
    91: requests.LoadRun,
    92: requests.ListRuns,
    93: requests.UpdateRun,
    94: requests.AskStop,
    95: requests.Append,
    96: requests.ReadLog,
    97: requests.PutBlob,
    98: requests.GetBlob,
    99: requests.GetField,
    100: requests.SetFields,
    101: requests.ExtendField,
    102: requests.RemoveDocument,
    103: requests.WriteOutput,
    104: requests.ReadOutput,
    105: requests.RegisterNode,
    106: requests.ForgetNode,
    107: requests.ListNodes,
    108: requests.RemoveRun,
    109: requests.Refused,
    110: requests.Pickled,
    111: requests.RemoveOrphans,
    112: requests.RemoveNodes,
    113: requests.Sweep,
    114: requests.Swept,
    115: requests.CopyBlob,
    116: requests.CopyDocument,
}
"""Every class that may travel or be kept by itself."""

TAG_OF: dict[object, int] = {cls: tag for tag, cls in TAGS.items()}
"""The same table, read the other way."""
