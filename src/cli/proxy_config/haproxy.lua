-- Asks Doorward before HAProxy lets a request through. It is the same for all apps.
-- The action takes the address of the gate and the host of the app.

-- What Doorward is told of a request.
local SEND = {
    "cookie", "authorization", "x-doorward-key", "accept", "origin", "x-requested-with", "sec-fetch-mode", "sec-fetch-dest",
    "sec-fetch-site", "sec-websocket-key", "access-control-request-method", "user-agent",
}
-- What the app is told of the visitor: all of it, always.
local GIVE = {
    "remote-user", "remote-email", "remote-name", "remote-groups", "x-auth-user", "x-auth-email", "x-auth-role", "x-auth-permissions",
}
-- What the visitor is told if Doorward refuses.
local RELAY = { "location", "set-cookie", "www-authenticate", "cache-control", "content-type" }

-- The values of a header, which HAProxy counts from 0.
local function values(headers, name)
    local all = {}
    local from = headers[name]
    if from then
        for i = 0, #from do
            table.insert(all, from[i])
        end
    end
    return all
end

local function question(txn, host)
    local sent = txn.http:req_get_headers()
    local ask = {
        ["x-forwarded-method"] = { txn.sf:method() },
        ["x-forwarded-host"] = { host },
        ["x-forwarded-uri"] = { txn.sf:pathq() },
        ["x-forwarded-for"] = { txn.f:src() },
    }
    for _, name in ipairs(SEND) do
        local all = values(sent, name)
        if #all > 0 then
            ask[name] = all
        end
    end
    -- A websocket over HTTP/2 comes without the header by which Doorward knows websockets.
    if sent["upgrade"] and not ask["sec-websocket-key"] then
        ask["sec-websocket-key"] = { "http2" }
    end
    return ask
end

core.register_action("doorward", { "http-req" }, function(txn, url, host)
    -- If there is no answer in time, HAProxy asks three times more.
    local asked, answer = pcall(function()
        return core.httpclient():get({ url = url, headers = question(txn, host), timeout = 1250 })
    end)
    if not asked or not answer or not answer.status then
        return txn:done(txn:reply({ status = 503 }))
    end
    if answer.status == 200 then
        for _, name in ipairs(GIVE) do
            txn.http:req_set_header(name, values(answer.headers, name)[1] or "")
        end
        txn:set_var("txn.doorward", "yes")
        return
    end
    if answer.status < 300 or answer.status > 499 then
        return txn:done(txn:reply({ status = 503 }))
    end
    local reply = txn:reply({ status = answer.status, body = answer.body or "" })
    for _, name in ipairs(RELAY) do
        for _, value in ipairs(values(answer.headers, name)) do
            reply:add_header(name, value)
        end
    end
    txn:done(reply)
end, 2)
