from eskit.messaging.bus import EventBus as EventBus
from eskit.messaging.bus import memory_bus as memory_bus
from eskit.messaging.subscriber import Subscriber as Subscriber
from eskit.messaging.subscription import DeadLetter as DeadLetter
from eskit.messaging.subscription import Subscription as Subscription
from eskit.messaging.subscriptions_nats import nats_bus as nats_bus
from eskit.messaging.subscriptions_store import store_bus as store_bus
