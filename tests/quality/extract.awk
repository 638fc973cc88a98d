# Sentences about orders, and what they say as JSON of three to five fields: -v count=N -v seed=S.
# -v from=A -v to=B (0..1): the part of the names and places that is drawn from, so that the values
# of held-out rows need not be those of the trained ones.
function rnd(n) { # Park and Miller, Comm. ACM 31 (1988): exact in the doubles of awk
    seed = (seed * 16807) % 2147483647
    return int(seed / 2147483647 * n)
}
function pick(list, n) { return list[1 + rnd(n)] }
function part(list, n,    lo, hi) {
    lo = int(n * from); hi = int(n * to)
    return list[1 + lo + rnd(hi - lo)]
}
function words(text, list) { return split(text, list, " ") }
function add(key, value, is_number) {
    json_text = json_text (json_text == "" ? "" : ",") "\\\"" key "\\\":" \
        (is_number ? value : "\\\"" value "\\\"")
}
BEGIN {
    if (to == "") to = 1
    n_name = words("mara tom elsa jonas ruth ivan clara otto nina felix hanna peter olga simon greta max lena paul vera hugo anna erik rosa carl", name)
    n_city = words("oslo lima rome cairo delhi bern riga turin porto leeds basel genoa kyoto quito dakar minsk", city)
    n_item = words("lamps chairs books plates shirts bricks tiles candles boxes ropes pumps keys pipes shelves clocks mirrors", item)
    n_day = words("monday tuesday wednesday thursday friday saturday sunday", day)
    n_colour = words("red blue green black white yellow grey brown", colour)
    for (i = 0; i < count; i++) {
        who = part(name, n_name); where = part(city, n_city); what = part(item, n_item)
        when = pick(day, n_day); shade = pick(colour, n_colour); number = 2 + rnd(98)
        has_city = rnd(2); has_day = rnd(2); kind = rnd(6)
        at = has_city ? " in " where : ""; on = has_day ? " on " when : ""
        has_colour = !(has_city && has_day) && rnd(2) # at most five fields
        thing = (has_colour ? shade " " : "") what
        if (kind == 0) s = who " ordered " number " " thing at on
        if (kind == 1) s = "please send " number " " thing " to " who at on
        if (kind == 2) s = who " needs " number " " thing at on
        if (kind == 3) s = number " " thing " for " who at on
        if (kind == 4) s = "we sold " number " " thing " to " who at on
        if (kind == 5) s = "the " number " " thing " of " who " arrived" at on
        json_text = ""
        add("name", who); add("item", what); add("count", number, 1)
        if (has_colour) add("colour", shade)
        if (has_city) add("city", where)
        if (has_day) add("day", when)
        printf "{\"messages\":[{\"role\":\"user\",\"content\":\"order: %s\"},{\"role\":\"assistant\",\"content\":\"{%s}\"}]}\n", s, json_text
    }
}
