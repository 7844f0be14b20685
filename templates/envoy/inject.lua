-- Upstream, on every cluster of one version: writes that version into the request, so that the version which is asked for
-- and the cluster which was chosen agree by construction, retries included.
--
--   REST   /unversioned/M:verb  ->  /v1/models/M/versions/V:verb
--   gRPC   model_spec{version{value: V}} is appended to the message: fields merge and the last of a oneof wins, so the
--          client's other fields survive, and a label or another version gives way
--
-- It fails closed. Before the headers have left: 503. After that: the announced length of the message counts the appended
-- bytes, and the first chunk is taken out before it is rewritten, so an error leaves a message that no server accepts.
local byte, char, floor, match, sub = string.byte, string.char, math.floor, string.match, string.sub
local SERVICE = "/tensorflow.serving.PredictionService/"
local TASKS = SERVICE .. "MultiInference"

local function varint(number)
  local bytes = {}
  while number >= 128 do
    bytes[#bytes + 1] = char(128 + number % 128)
    number = floor(number / 128)
  end
  bytes[#bytes + 1] = char(number)
  return table.concat(bytes)
end

local function field(tag, bytes)
  return char(tag) .. varint(#bytes) .. bytes
end

-- One entry for every version number that this worker has seen.
local specs = {}

-- model_spec(1){version(2){value(1): V}}
local function model_spec(version)
  local known = specs[version]
  if not known then
    known = field(10, field(18, char(8) .. varint(tonumber(version))))
    specs[version] = known
  end
  return known
end

-- A message's prefix: not compressed, and its length in four bytes.
local function prefix(length)
  local low = length % 65536
  local high = (length - low) / 65536
  return char(0, floor(high / 256), high % 256, floor(low / 256), low % 256)
end

local function announced(bytes)
  local flag, a, b, c, d = byte(bytes, 1, 5)
  if flag ~= 0 then error("a compressed message cannot be given a version") end
  return ((a * 256 + b) * 256 + c) * 256 + d
end

-- Appends to the first message of the body without holding it.
local function append(handle, suffix)
  local carry, missing = "", nil
  for chunk in handle:bodyChunks() do
    local size = chunk:length()
    if missing and size < missing then
      missing = missing - size
    elseif missing then
      local bytes = chunk:getBytes(0, size)
      chunk:setBytes("")
      chunk:setBytes(sub(bytes, 1, missing) .. suffix .. sub(bytes, missing + 1))
      return
    elseif size > 0 then
      local bytes = carry .. chunk:getBytes(0, size)
      chunk:setBytes("")
      if #bytes < 5 then
        carry = bytes
      else
        local length = announced(bytes)
        local message = prefix(length + #suffix)
        if #bytes - 5 >= length then
          chunk:setBytes(message .. sub(bytes, 6, 5 + length) .. suffix .. sub(bytes, 6 + length))
          return
        end
        missing = length - (#bytes - 5)
        chunk:setBytes(message .. sub(bytes, 6))
      end
    end
  end
end

local function read_varint(bytes, at)
  local number, scale = 0, 1
  while true do
    local one = byte(bytes, at)
    at = at + 1
    number = number + (one % 128) * scale
    if one < 128 then return number, at end
    scale = scale * 128
  end
end

-- A MultiInferenceRequest whose first task (field 1) asks for the version; TF Serving takes the version from that task.
local function with_first_task(message, suffix)
  local at = 1
  while at <= #message do
    local start, tag = at, nil
    tag, at = read_varint(message, at)
    local wire = tag % 8
    if wire == 2 then
      local length
      length, at = read_varint(message, at)
      if tag == 10 then
        local task = sub(message, at, at + length - 1) .. suffix
        return sub(message, 1, start - 1) .. field(10, task) .. sub(message, at + length)
      end
      at = at + length
    elseif wire == 0 then
      local _
      _, at = read_varint(message, at)
    else
      at = at + (wire == 1 and 8 or 4)
    end
  end
  error("a MultiInference without a task")
end

local function rewrite_tasks(handle, suffix)
  local body = handle:body()
  local bytes = body:getBytes(0, body:length())
  local length = announced(bytes)
  local message = with_first_task(sub(bytes, 6, 5 + length), suffix)
  body:setBytes(prefix(#message) .. message .. sub(bytes, 6 + length))
end

local function inject(handle)
  local headers = handle:headers()
  local path = headers:get(":path")
  local version = handle:filterContext():get("version")
  if sub(path, 1, #SERVICE) == SERVICE then
    local suffix = model_spec(version)
    headers:remove("content-length")
    if path == TASKS then return rewrite_tasks(handle, suffix) end
    return append(handle, suffix)
  end
  local name, rest = match(path, "^/unversioned/([%w_-]+)(.+)$")
  -- Without the prefix it is a further attempt: all attempts of one request go to one cluster and share its headers.
  if name then headers:replace(":path", "/v1/models/" .. name .. "/versions/" .. version .. rest) end
end

function envoy_on_request(handle)
  local done, problem = pcall(inject, handle)
  if not done then
    handle:logErr("inject: " .. tostring(problem))
    -- Raises when the headers have left already; then the message itself is what no server accepts.
    pcall(handle.respond, handle, {[":status"] = "503"}, "the gateway could not give this request a version")
  end
end
