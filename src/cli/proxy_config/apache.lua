-- Asks Doorward before Apache lets a request through to @app@.

local http, ltn12 = require "socket.http", require "ltn12"
http.TIMEOUT = 2

local URL = "http://@doorward@/gate/forward"
local OWN = "proxy:http://@doorward@/.doorward/"
local HOST = "@host@"
local AUTHORITY = "@authority@"
-- What Doorward is told of a request.
local SEND = {
    "Cookie", "Authorization", "X-Doorward-Key", "Accept", "Origin", "X-Requested-With", "Sec-Fetch-Mode", "Sec-Fetch-Dest",
    "Sec-Fetch-Site", "Sec-WebSocket-Key", "Access-Control-Request-Method", "User-Agent",
}
-- What the app is told of the visitor: all of it, always.
local GIVE = {
    "Remote-User", "Remote-Email", "Remote-Name", "Remote-Groups", "X-Auth-User", "X-Auth-Email", "X-Auth-Role", "X-Auth-Permissions",
}
-- What the visitor is told if Doorward refuses.
local RELAY = { "Location", "Set-Cookie", "WWW-Authenticate", "Cache-Control" }

-- Connection can name headers for the next hop to drop, such as those that say who somebody is.
local function drops_identity(r)
    local hop = (r.headers_in["Connection"] or ""):lower()
    for _, word in ipairs({ "remote", "auth", "forwarded", "cookie", "doorward" }) do
        if hop:find(word, 1, true) then
            return true
        end
    end
    return false
end

local function question(r)
    local ask = {
        ["X-Forwarded-Method"] = r.method,
        ["X-Forwarded-Host"] = AUTHORITY,
        ["X-Forwarded-Uri"] = r.unparsed_uri,
        ["X-Forwarded-For"] = r.useragent_ip,
    }
    for _, name in ipairs(SEND) do
        local value = r.headers_in[name]
        if value and value ~= "" then
            ask[name] = value
        end
    end
    return ask
end

-- Websockets pass. Nothing else does: in HTTP/2 by `Upgrade: h2c`, requests would pass unasked.
local function narrow_upgrade(r)
    local upgrade = r.headers_in["Upgrade"]
    if upgrade and upgrade:lower() ~= "websocket" then
        r.headers_in["Upgrade"] = nil
    end
end

-- Some apps take X_Auth_Role and X.Auth.Role for X-Auth-Role. Keys are for Doorward; the app could act as the visitor
-- with them.
local function delete_identity(r)
    for name in pairs(r:headers_in_table()) do
        local low = name:lower()
        if low:match("^remote%W") or low:match("^x%Wauth%W") or low == "x-doorward-key" then
            r.headers_in[name] = nil
        end
    end
end

function doorward(r)
    -- The first virtual host of a port is asked for every name; this one is for its own.
    if r.hostname ~= HOST then
        return 421
    end
    -- What Apache passes to Doorward itself is no question about the app.
    if (r.filename or ""):find(OWN, 1, true) == 1 then
        return apache2.OK
    end
    if drops_identity(r) then
        return 400
    end
    local asked, status, answer, line = http.request({
        url = URL, headers = question(r), redirect = false, sink = ltn12.sink.null(),
    })
    delete_identity(r)
    narrow_upgrade(r)
    if not asked or not answer or type(status) ~= "number" then
        return 503
    end
    if status == 200 and line:find("^HTTP/1%.1 200 ") then
        for _, name in ipairs(GIVE) do
            r.headers_in[name] = answer[name:lower()] or ""
        end
        return apache2.OK
    end
    if status < 300 or status > 499 then
        return 503
    end
    for _, name in ipairs(RELAY) do
        if answer[name:lower()] then
            r.err_headers_out[name] = answer[name:lower()]
        end
    end
    return status
end
