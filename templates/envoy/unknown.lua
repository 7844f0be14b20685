-- Downstream, only on the route of last resort: says in TF Serving's words what is unknown.
-- A request without a routing key is one whose routing script failed: 503, never some version by accident.
local match = string.match
local GRPC = {["400"] = "3", ["404"] = "5", ["503"] = "14"}

local function verdict(key)
  if not key then return "503", "the gateway could not read this request" end
  local label = match(key, "@(.+)$")
  if label then return "400", "Unrecognized servable version label: " .. label end
  local name, version = match(key, "^([^/]*)/(.+)$")
  if version == "any" then return "404", "Could not find any versions of model " .. name end
  if version then return "404", "Servable not found for request: Specific(" .. name .. ", " .. version .. ")" end
  return "404", "Servable not found for request: Latest(" .. key .. ")"
end

function envoy_on_request(handle)
  local status, message = verdict(handle:headers():get("x-tfs-route"))
  if handle:filterContext():get("protocol") == "rest" then
    handle:respond({[":status"] = status}, message)
  else
    handle:respond({
      [":status"] = "200", ["content-type"] = "application/grpc", ["grpc-status"] = GRPC[status],
      ["grpc-message"] = message,
    }, nil)
  end
end
