"""Channel programs (zfs-program(8)): what would be many calls, done by the kernel in one.

Only root may run them. Each takes a table `argv`.
"""

from __future__ import annotations

# Destroys `names` in this order; what is gone already is done. Returns what is in the way.
#
# All is looked at before the first is destroyed: a program that fails is not rolled back. What
# cannot be destroyed yet has something below it, or made of it; only then is it asked what, as
# listing costs more than destroying: it opens the dataset at each step.
DESTROY = rb"""
local names = (...)["argv"]["names"]
local ENOENT = 2
local doomed = {}
local waits = false
local function kept(list, name)
    for other in list(name) do
        if not doomed[other] then return other end
        waits = true
    end
end
local function why_not(name)
    waits = false
    if string.find(name, "@", 1, true) then
        if zfs.get_prop(name, "userrefs") > 0 then return "snapshot is held" end
        if kept(zfs.list.clones, name) then return "snapshot has dependent clones" end
    elseif kept(zfs.list.children, name) or kept(zfs.list.snapshots, name) then
        return "filesystem has children"
    end
end
for _, name in ipairs(names) do
    local failed = zfs.check.destroy(name)
    if failed ~= ENOENT then
        if failed ~= 0 then
            local why = why_not(name)
            if why then return {name = name, why = why} end
            if not waits then return {name = name, errno = failed} end
        end
        doomed[name] = true
    end
end
for _, name in ipairs(names) do
    if doomed[name] then
        local failed = zfs.sync.destroy(name)
        if failed ~= 0 then return {name = name, errno = failed} end
    end
end
"""
