-- gRPC, downstream, first: admits methods by list, and refuses what the gateway cannot look into.
local ADMITTED = {
  ["/tensorflow.serving.PredictionService/Predict"] = true,
  ["/tensorflow.serving.PredictionService/Classify"] = true,
  ["/tensorflow.serving.PredictionService/Regress"] = true,
  ["/tensorflow.serving.PredictionService/MultiInference"] = true,
  ["/tensorflow.serving.PredictionService/GetModelMetadata"] = true,
  ["/tensorflow.serving.ModelService/GetModelStatus"] = true,
  ["/grpc.health.v1.Health/Check"] = true,
}
local PERMISSION_DENIED, UNIMPLEMENTED = "7", "12"

local function refuse(handle, code, message)
  handle:respond({
    [":status"] = "200", ["content-type"] = "application/grpc", ["grpc-status"] = code, ["grpc-message"] = message,
    ["grpc-accept-encoding"] = "identity",
  }, nil)
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local path = headers:get(":path")
  if not ADMITTED[path] then
    if path == "/tensorflow.serving.ModelService/HandleReloadConfigRequest" then
      return refuse(handle, PERMISSION_DENIED, "HandleReloadConfigRequest is not allowed through the gateway")
    end
    return refuse(handle, UNIMPLEMENTED, "the gateway does not serve this method")
  end
  local encoding = headers:get("grpc-encoding")
  if encoding and encoding ~= "identity" then
    return refuse(handle, UNIMPLEMENTED, "the gateway does not read compressed messages")
  end
end
