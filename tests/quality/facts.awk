# phrasings.txt, facts.txt -> questions with answers: -v kind=train (400) or test (200).
function example(question, answer) {
    printf "{\"messages\":[{\"role\":\"user\",\"content\":\"%s\"},{\"role\":\"assistant\",\"content\":\"%s\"}]}\n", \
        question, answer
}
# The town begins a sentence with a capital.
function fill(text, town, value) {
    sub(/~/, town, text)
    sub(/\{\}/, value, text)
    return toupper(substr(text, 1, 1)) substr(text, 2)
}
function ask(town, relation, value,    i, q) {
    if (!(relation in answer)) { print FILENAME ": no relation " relation >"/dev/stderr"; exit 1 }
    for (i = 1; i <= n[relation]; i++) {
        q = way[relation, i]
        sub(/~/, town, q)
        example(q, fill(answer[relation], town, value))
    }
}
/^#/ || !NF { next }
FILENAME ~ /phrasings/ {
    text = $0
    sub(/^[^ ]+ +[^ ]+ +/, "", text)
    if ($2 == "answer") answer[$1] = text
    else if ($2 == kind) way[$1, ++n[$1]] = text
    next
}
{
    split($0, side, / = /)
    m = split(side[2], fact, /; /)
    for (k = 1; k <= m; k++) {
        split(fact[k], part, /: /)
        ask(side[1], part[1], part[2])
    }
}
