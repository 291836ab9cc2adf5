"""Host: the only room with Metaflow's private names, and the only one that patches Metaflow.

Seen on Metaflow 2.19.23, the lowest that memoflow supports, and 2.19.39; tests/flow/host holds each
interface to the real Metaflow. Nothing here imports other rooms of `flow`.
"""
