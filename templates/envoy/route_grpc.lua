-- gRPC, downstream, after grpc_field_extraction: turns the fields that it found into a routing key (see route_rest.lua).
local match = string.match
local FOUND = "envoy.filters.http.grpc_field_extraction"
local STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
local TASKS = "/tensorflow.serving.PredictionService/MultiInference"
local HEALTH = "/grpc.health.v1.Health/Check"
local INVALID_ARGUMENT, NOT_FOUND = "3", "5"

-- grpc-message travels percent-encoded (gRPC over HTTP/2, "Responses").
local function encoded(text)
  return (string.gsub(text, "[^ -$&-~]", function(byte) return string.format("%%%02X", string.byte(byte)) end))
end

local function refuse(handle, code, message)
  handle:respond({
    [":status"] = "200", ["content-type"] = "application/grpc", ["grpc-status"] = code,
    ["grpc-message"] = encoded(message),
  }, nil)
end

-- The key of a request to one model, or nothing and why not.
local function key(name, versions, labels, pin)
  local version, label = versions and versions[1], labels and labels[1]
  if version and label then return nil, "model_spec names both a version and a label" end
  if version then return name .. "/" .. version end
  if label then
    if not match(label, "^[%w_][%w_-]*$") then return nil, "Unrecognized servable version label: " .. label end
    return name .. "@" .. label
  end
  if not pin then return name end
  local digits = #pin <= 19 and match(pin, "^0*(%d+)$")
  if not digits then return nil, "Failed to convert version: " .. pin .. " to numeric." end
  return name .. "/" .. digits
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local path = headers:get(":path")
  if path == HEALTH then
    headers:replace("x-tfs-route", "/health")
    return handle:clearRouteCache()
  end
  local found = handle:streamInfo():dynamicMetadata():get(FOUND)
  if not found then return refuse(handle, INVALID_ARGUMENT, "Missing ModelSpec") end
  local prefix = path == TASKS and "tasks.model_spec." or "model_spec."
  local names = found[prefix .. "name"]
  local name = names and names[1]
  if not name or name == "" then return refuse(handle, INVALID_ARGUMENT, "ModelSpec has no name specified.") end
  if not match(name, "^[%w_][%w_-]*$") then
    return refuse(handle, NOT_FOUND, "Servable not found for request: Latest(" .. name .. ")")
  end
  if path == STATUS then
    headers:replace("x-tfs-route", name .. "/any")
    return handle:clearRouteCache()
  end
  local versions, labels = found[prefix .. "version.value"], found[prefix .. "version_label"]
  if path == TASKS then
    -- TF Serving takes the version of the first task; which task a value came from is not known here.
    local given = math.max(versions and #versions or 0, labels and #labels or 0)
    if given ~= 0 and given ~= #names then
      return refuse(handle, INVALID_ARGUMENT, "either all tasks of a MultiInference name a version, or none")
    end
  end
  local route, problem = key(name, versions, labels, headers:get("x-tfs-version"))
  if not route then return refuse(handle, INVALID_ARGUMENT, problem) end
  headers:replace("x-tfs-route", route)
  handle:clearRouteCache()
end
