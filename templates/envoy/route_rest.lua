-- REST, downstream: reads model, version or label and verb from the path, and turns them into a routing key.
--
--   x-tfs-route   "M" by weight | "M/V" exact | "M@L" label | "M/any" whoever has the model (status)
--   :path         "/unversioned/M:predict"; only inject.lua makes a path that a model server answers from it, so a request
--                 that missed the injection is refused there instead of being answered by the highest version
--
-- Grammar: TF Serving's http_rest_api_util.cc (case-insensitive); a query string is dropped, as no route has one.
local lower, match, sub = string.lower, string.match, string.sub

local METHOD = {
  [""] = "GET", ["/metadata"] = "GET", [":predict"] = "POST", [":classify"] = "POST", [":regress"] = "POST",
}
local LARGEST = "9223372036854775807"

local function refuse(handle, status, message)
  handle:respond({[":status"] = status}, message)
end

local function decoded(text)
  return (string.gsub(text, "%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

local function canonical(version)
  local digits = string.gsub(version, "^0+(%d)", "%1")
  if #digits > #LARGEST or (#digits == #LARGEST and digits > LARGEST) then return nil end
  return digits
end

-- The version or label that the path names, and what is left of it.
local function selector(rest)
  local small = lower(rest)
  local version = match(small, "^/versions/(%d+)")
  if version then return version, nil, sub(small, #"/versions/" + #version + 1) end
  local label = match(small, "^/labels/([^/:]+)")
  if label then
    local start = #"/labels/"
    return nil, decoded(sub(rest, start + 1, start + #label)), sub(small, start + #label + 1)
  end
  return nil, nil, small
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local path, method = headers:get(":path"), headers:get(":method")
  path = match(path, "^[^?#]*")
  local name, rest
  if lower(sub(path, 1, 11)) == "/v1/models/" then name, rest = match(path, "^([^/:]+)(.*)$", 12) end
  if not name then
    if method == "GET" and match(lower(path), "^/v1/models/?$") then
      return refuse(handle, "400", "Missing model name in request.")
    end
    return refuse(handle, "404", "Malformed request: " .. method .. " " .. path)
  end
  local version, label, suffix = selector(rest)
  if not METHOD[suffix] then return refuse(handle, "404", "Malformed request: " .. method .. " " .. path) end
  if METHOD[suffix] ~= method then return refuse(handle, "400", "Malformed request: " .. method .. " " .. path) end
  name = decoded(name)
  if not match(name, "^[%w_][%w_-]*$") then
    return refuse(handle, "404", "Servable not found for request: Latest(" .. name .. ")")
  end

  if not version and not label and suffix ~= "" then version = headers:get("x-tfs-version") end
  if version then
    local exact = match(version, "^%d+$") and canonical(version)
    if not exact then return refuse(handle, "400", "Failed to convert version: " .. version .. " to numeric.") end
    version = exact
  end
  if suffix == "" then
    headers:replace("x-tfs-route", name .. "/any")
    headers:replace(":path", "/v1/models/" .. name .. (version and ("/versions/" .. version) or ""))
  else
    if label and not match(label, "^[%w_][%w_-]*$") then
      return refuse(handle, "400", "Unrecognized servable version label: " .. label)
    end
    headers:replace("x-tfs-route", name .. (version and ("/" .. version) or label and ("@" .. label) or ""))
    headers:replace(":path", "/unversioned/" .. name .. suffix)
  end
  handle:clearRouteCache()
end
