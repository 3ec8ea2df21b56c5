from eskit.schema.jsonmap import to_dict as to_dict
from eskit.schema.jsonmap import to_json as to_json
