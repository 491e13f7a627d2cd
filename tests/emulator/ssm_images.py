"""Parameters of the type aws:ec2:image, which SSM validates after its answer. The rules are listed in README.md."""

from moto.ec2.models import ec2_backends
from moto.ssm.models import Parameter, SimpleSystemManagerBackend

# parameter_looks: reads for which a new image parameter is not stored yet.
SETTINGS = {"parameter_looks": 1}

WAITING = {}




def patch():
    put, get = SimpleSystemManagerBackend.put_parameter, SimpleSystemManagerBackend.get_parameter
    delete = SimpleSystemManagerBackend.delete_parameter

    def put_parameter(self, name, *args, **kwargs):
        data_type = args[7] if len(args) > 7 else kwargs.get("data_type")
        if data_type != "aws:ec2:image":
            return put(self, name, *args, **kwargs)
        before = list(self._parameters.get(name, []))
        made = put(self, name, *args, **kwargs)
        # The answer names a version; what is stored is decided later.
        if before:
            self._parameters[name] = before
        else:
            self._parameters.pop(name, None)
        WAITING[(self.account_id, self.region_name, name)] = [made, SETTINGS["parameter_looks"]]
        return made

    def get_parameter(self, name):
        settle(self, name)
        return get(self, name)

    def delete_parameter(self, name):
        WAITING.pop((self.account_id, self.region_name, name), None)
        return delete(self, name)

    SimpleSystemManagerBackend.put_parameter = put_parameter
    SimpleSystemManagerBackend.get_parameter = get_parameter
    SimpleSystemManagerBackend.delete_parameter = delete_parameter


def settle(backend, name):
    waiting = WAITING.get((backend.account_id, backend.region_name, name))
    if waiting is None:
        return
    if waiting[1] > 0:
        waiting[1] -= 1
        return
    del WAITING[(backend.account_id, backend.region_name, name)]
    made: Parameter = waiting[0]
    image = ec2_backends[backend.account_id][backend.region_name].amis.get(made.value)
    # An image that cannot be found is not stored, and nobody is told but EventBridge.
    if image is not None and image.state == "available":
        backend._parameters[name] = [*backend._parameters.get(name, []), made]


def settle_all():
    """What the passing of time does, for /kiln/holdings."""
    from moto.ssm.models import ssm_backends

    for account, region, name in list(WAITING):
        WAITING[(account, region, name)][1] = 0
        settle(ssm_backends[account][region], name)
