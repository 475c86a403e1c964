"""An agent that enrols and renews by full CMC (RFC 7030 4.3) instead of the simple operations."""

from est import agent, fullcmc


class Agent(agent.Agent):
    """As est.agent.Agent. Every request is signed with a certificate: the one to renew, or to
    enrol first the one from the factory.
    """

    def client(self, identity=None):
        return _Client(self, super().client(identity), identity)


class _Client:
    def __init__(self, agent, client, identity):
        self._agent = agent
        self._client = client
        self._identity = identity

    def __getattr__(self, name):
        return getattr(self._client, name)

    def simpleenroll(self, request):
        return fullcmc.ask(self._agent, (), (request,), self._identity)

    simplereenroll = simpleenroll
