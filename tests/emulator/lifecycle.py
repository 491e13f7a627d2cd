"""Lifecycle hooks that hold an instance; in moto an instance is InService at once, and each hook notifies a queue.

Restored here: a group with a launching hook starts its instances in Pending:Wait, CompleteLifecycleAction moves them
to InService, or to Terminated on ABANDON, and an action that nobody waits for is a ValidationError; a hook notifies
nobody. Not restored: timeouts, hooks with a queue or topic, the terminating side, notices.
"""

from moto.autoscaling.models import FakeAutoScalingGroup, InstanceState, LifecycleHook
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.exceptions import ServiceException
from moto.core.responses import EmptyResult

LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"


class NothingWaits(ServiceException):
    """moto finds the service's error model by the module of the exception: its own class will not do."""


def patch():
    init = InstanceState.__init__

    def held_by_hooks(self, *args, **kwargs):
        init(self, *args, **kwargs)
        group = self.auto_scaling_group
        hooks = group.autoscaling_backend.describe_lifecycle_hooks(group.name)
        if any(hook.lifecycle_transition == LAUNCHING for hook in hooks):
            self.lifecycle_state = "Pending:Wait"

    InstanceState.__init__ = held_by_hooks
    make = LifecycleHook.__init__

    def told_by_nobody(self, *args, **kwargs):
        make(self, *args, **kwargs)
        self.notification_target_arn = self.role_arn = None

    LifecycleHook.__init__ = told_by_nobody
    # moto launches until enough are active: those that wait count.
    FakeAutoScalingGroup.active_instances = lambda self: [
        state for state in self.instance_states if state.lifecycle_state in ("InService", "Pending:Wait")
    ]
    AutoScalingResponse.complete_lifecycle_action = complete_lifecycle_action
    AutoScalingResponse.record_lifecycle_action_heartbeat = record_lifecycle_action_heartbeat


def complete_lifecycle_action(self):
    state = waiting(self)
    done = self._get_param("LifecycleActionResult") == "CONTINUE"
    state.lifecycle_state = "InService" if done else "Terminated"
    return EmptyResult()


def record_lifecycle_action_heartbeat(self):
    waiting(self)
    return EmptyResult()


def waiting(self):
    group = self.autoscaling_backend.autoscaling_groups.get(self._get_param("AutoScalingGroupName"))
    wanted = self._get_param("InstanceId")
    for state in group.instance_states if group else []:
        if state.instance.id == wanted and state.lifecycle_state == "Pending:Wait":
            return state
    raise NothingWaits("ValidationError", f"No active Lifecycle Action found with instance ID {wanted}")
