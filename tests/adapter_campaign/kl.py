# How far logits are from others: kl.py A.f32 B.f32 N_VOCAB, rows of floats.  Prints the mean KL
# divergence of A from B in nats, the share of equal first choices, the largest difference.
import array, math, sys


def rows(path, n):
    a = array.array("f", open(path, "rb").read())
    return [a[i:i + n] for i in range(0, len(a), n)]


def log_sum(v):
    m = max(v)
    return m + math.log(sum(math.exp(x - m) for x in v))


n = int(sys.argv[3])
kl = same = most = 0
a, b = rows(sys.argv[1], n), rows(sys.argv[2], n)
assert len(a) == len(b) > 0
for x, y in zip(a, b):
    lx, ly = log_sum(x), log_sum(y)
    kl += sum(math.exp(q - ly) * ((q - ly) - (p - lx)) for p, q in zip(x, y))
    same += max(range(n), key=x.__getitem__) == max(range(n), key=y.__getitem__)
    most = max(most, max(abs(p - q) for p, q in zip(x, y)))
print("%.3g %.4f %.3g" % (kl / len(a), same / len(a), most))
