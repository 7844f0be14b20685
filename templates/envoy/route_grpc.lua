-- gRPC, downstream: admits methods by list, reads model, version or label from the message, and turns them into a routing
-- key (see route_rest.lua). What it cannot read it refuses; an error in here leaves the request without a key: 503.
local byte, find, floor, match, sub = string.byte, string.find, math.floor, string.match, string.sub

local ADMITTED = {
  ["/tensorflow.serving.PredictionService/Predict"] = "inference",
  ["/tensorflow.serving.PredictionService/Classify"] = "inference",
  ["/tensorflow.serving.PredictionService/Regress"] = "inference",
  ["/tensorflow.serving.PredictionService/GetModelMetadata"] = "inference",
  ["/tensorflow.serving.PredictionService/MultiInference"] = "tasks",
  ["/tensorflow.serving.ModelService/GetModelStatus"] = "status",
  ["/grpc.health.v1.Health/Check"] = "health",
}
local RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
local INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, UNIMPLEMENTED = "3", "5", "7", "12"
local NAME = "^[%w_][%w_-]*$"

-- grpc-message travels percent-encoded (gRPC over HTTP/2, "Responses").
local function encoded(text)
  return (string.gsub(text, "[^ -$&-~]", function(one) return string.format("%%%02X", byte(one)) end))
end

local function refuse(handle, code, message)
  handle:respond({
    [":status"] = "200", ["content-type"] = "application/grpc", ["grpc-status"] = code,
    ["grpc-message"] = encoded(message), ["grpc-accept-encoding"] = "identity",
  }, nil)
end

-- A reader of Protobuf's wire format. It fetches windows of the body, never all of it, and never yields, so one state for
-- the whole worker is enough. Positions count from 0; every error in here means a message that cannot be read.
local WINDOW = 512
local MOST_FIELDS = 100000
local body, size, window, base

local function at_byte(at)
  local index = at - base + 1
  if index < 1 or index > #window then
    if at < 0 or at >= size then error("the message ends early") end
    base = at
    window = body:getBytes(at, math.min(WINDOW, size - at))
    index = 1
  end
  return byte(window, index)
end

local function text(at, length)
  local index = at - base + 1
  if index >= 1 and index + length - 1 <= #window then return sub(window, index, index + length - 1) end
  if length == 0 then return "" end
  return body:getBytes(at, length)
end

local function varint(at, stop)
  local number, scale = 0, 1
  for _ = 1, 10 do
    if at >= stop then error("the message ends early") end
    local one = at_byte(at)
    at = at + 1
    if one < 128 then return number + one * scale, at end
    number = number + (one - 128) * scale
    scale = scale * 128
  end
  error("a number is too long")
end

-- An int64 as decimal text. Doubles hold it in three parts; beyond 2^53 the last digits are rounded, where no version is.
local function int64(at, stop)
  local parts = {0, 0, 0}
  for place = 0, 9 do
    if at >= stop then error("the message ends early") end
    local one = at_byte(at)
    at = at + 1
    local part = floor(place / 4) + 1
    parts[part] = parts[part] + (one % 128) * 128 ^ (place % 4)
    if one < 128 then break end
  end
  local high = parts[3] % 256
  if high >= 128 then high = high - 256 end
  return string.format("%.0f", (high * 2 ^ 28 + parts[2]) * 2 ^ 28 + parts[1]), at
end

local function bounded(at, stop)
  local length
  length, at = varint(at, stop)
  if at + length > stop then error("the message ends early") end
  return length, at, at + length
end

local function skip(at, tag, stop)
  local wire, after = tag % 8, nil
  if wire == 2 then
    _, _, after = bounded(at, stop)
  elseif wire == 0 then
    _, after = varint(at, stop)
  elseif wire == 1 then
    after = at + 8
  elseif wire == 5 then
    after = at + 4
  end
  if tag < 8 or not after or after > stop then error("not a message") end
  return after
end

local TAG_1, TAG_2, TAG_4 = 10, 18, 34 -- length-delimited fields 1, 2 and 4

-- Int64Value: value(1).
local function read_value(at, stop, value)
  while at < stop do
    local tag
    tag, at = varint(at, stop)
    if tag == 8 then value, at = int64(at, stop) else at = skip(at, tag, stop) end
  end
  return value
end

-- ModelSpec: name(1), one of {version(2), version_label(4)}; what comes later wins, as for every reader of Protobuf.
local function read_spec(at, stop, spec)
  while at < stop do
    local tag, length, after
    tag, at = varint(at, stop)
    if tag == TAG_1 then
      length, at, after = bounded(at, stop)
      spec.name = text(at, length)
    elseif tag == TAG_2 then
      length, at, after = bounded(at, stop)
      spec.version, spec.label = read_value(at, after, spec.version or "0"), nil
    elseif tag == TAG_4 then
      length, at, after = bounded(at, stop)
      spec.label, spec.version = text(at, length), nil
    else
      after = skip(at, tag, stop)
    end
    at = after
  end
end

-- Every request has its model_spec in field 1; MultiInference has tasks there, with model_spec in field 1 of each, and TF
-- Serving takes the version of the first.
local function read_request(at, stop, in_task, first_only)
  local spec
  for _ = 1, MOST_FIELDS do
    if at >= stop then return spec end
    local tag, length, after
    tag, at = varint(at, stop)
    if tag == TAG_1 then
      length, at, after = bounded(at, stop)
      if not first_only then
        spec = spec or {}
        read_spec(at, after, spec)
      elseif not spec then
        spec = in_task(at, after) or {}
      end
    else
      after = skip(at, tag, stop)
    end
    at = after
  end
  error("too many fields")
end

local function read_task(at, stop)
  return read_request(at, stop, nil, false)
end

local function read(kind)
  return read_request(5, size, read_task, kind == "tasks")
end

-- Whether the body is one whole message that is not compressed; if not, the code and why.
local function framed()
  if size < 5 then return INVALID_ARGUMENT, "the request is not a gRPC message" end
  local flag, a, b, c, d = byte(window, 1, 5)
  if flag ~= 0 then return UNIMPLEMENTED, "the gateway does not read compressed messages" end
  if ((a * 256 + b) * 256 + c) * 256 + d ~= size - 5 then
    return INVALID_ARGUMENT, "the request is not one whole gRPC message"
  end
end

local function key(spec, kind, pin)
  local name, label = spec.name, spec.label
  if not name or name == "" then return nil, INVALID_ARGUMENT, "ModelSpec has no name specified." end
  if not find(name, NAME) then return nil, NOT_FOUND, "Servable not found for request: Latest(" .. name .. ")" end
  if kind == "status" then return name .. "/any" end
  if spec.version then return name .. "/" .. spec.version end
  if label then
    if find(label, NAME) then return name .. "@" .. label end
    return nil, INVALID_ARGUMENT, "Unrecognized servable version label: " .. label
  end
  if not pin then return name end
  local digits = #pin <= 19 and match(pin, "^0*(%d+)$")
  if digits then return name .. "/" .. digits end
  return nil, INVALID_ARGUMENT, "Failed to convert version: " .. pin .. " to numeric."
end

local function send(handle, route)
  handle:headers():replace("x-tfs-route", route)
  handle:clearRouteCache()
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local path = headers:get(":path")
  local kind = ADMITTED[path]
  if not kind then
    if path == RELOAD then
      return refuse(handle, PERMISSION_DENIED, "HandleReloadConfigRequest is not allowed through the gateway")
    end
    return refuse(handle, UNIMPLEMENTED, "the gateway does not serve this method")
  end
  local encoding = headers:get("grpc-encoding")
  if encoding and encoding ~= "identity" then
    return refuse(handle, UNIMPLEMENTED, "the gateway does not read compressed messages")
  end
  local content = headers:get("content-type") or ""
  if content ~= "application/grpc" and not find(content, "^application/grpc[+;]") then
    return refuse(handle, INVALID_ARGUMENT, "the request is not gRPC")
  end
  if kind == "health" then return send(handle, "/health") end
  local pin = headers:get("x-tfs-version")

  local received = handle:body() -- waits; `headers` is dead from here on
  if not received then return refuse(handle, INVALID_ARGUMENT, "the request is empty") end
  body, size, base = received, received:length(), 0
  window = size > 0 and body:getBytes(0, math.min(WINDOW, size)) or ""
  local code, problem = framed()
  if code then return refuse(handle, code, problem) end
  local readable, spec = pcall(read, kind)
  body, window = nil, nil
  if not readable then return refuse(handle, INVALID_ARGUMENT, "the request cannot be parsed") end
  if not spec then return refuse(handle, INVALID_ARGUMENT, "Missing ModelSpec") end
  local route
  route, code, problem = key(spec, kind, pin)
  if not route then return refuse(handle, code, problem) end
  send(handle, route)
end
