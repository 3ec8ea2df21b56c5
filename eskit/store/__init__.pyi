from eskit.store.decoding import EventDecoder as EventDecoder
from eskit.store.repository import Repository as Repository
