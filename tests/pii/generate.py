#!/usr/bin/python3
"""The generated part of the corpus of tests/test_pii.c:  generate.py > generated.txt

The check digits are computed here by their own code, apart from the scanners'.  One seed, so that the
file is the same every time."""
import random

R = random.Random(20261127)
OUT = []


def digits(n, first=None):
    s = ''.join(R.choice('0123456789') for _ in range(n))
    return R.choice(first) + s[1:] if first else s


def some(alphabet, n):
    return ''.join(R.choice(alphabet) for _ in range(n))


UP, LOW = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ', 'abcdefghijklmnopqrstuvwxyz'
ALNUM, HEX = UP + LOW + '0123456789', '0123456789abcdef'
B64 = ALNUM + '+/'


def mixed(alphabet, n):
    """With a digit, a capital and a small letter in it."""
    while True:
        s = some(alphabet, n)
        if any(c.isdigit() for c in s[2:]) and any(c.isalpha() for c in s[2:]):
            return s


# ---- check digits ----

def luhn(b):
    t = 0
    for i, c in enumerate(reversed(b)):
        d = int(c)
        if i % 2 == 0:
            d = d * 2 - (9 if d > 4 else 0)
        t += d
    return b + str(-t % 10)


def iban(cc, b):
    n = int(''.join(str(int(c, 36)) for c in b + cc + '00'))
    return cc + '%02d' % (98 - n % 97) + b


def de_tax():
    while True:
        b = digits(10, '123456789')
        counts = sorted((b.count(c) for c in set(b)), reverse=True)
        if counts[0] in (2, 3) and counts[1] == 1 and not any(c * 3 in b for c in '0123456789'):
            break
    p = 10
    for c in b:
        p = ((int(c) + p) % 10 or 10) * 2 % 11
    return b + str((11 - p) % 10)


def nir(corsica=False):
    b = R.choice('12') + digits(2) + '%02d' % R.randint(1, 12)
    b += R.choice(['2A', '2B']) if corsica else '%02d' % R.randint(1, 95)
    b += '%03d%03d' % (R.randint(1, 990), R.randint(1, 999))
    n = int(b.replace('2A', '19').replace('2B', '18'))
    return b + '%02d' % (97 - n % 97)


def pesel():
    y, m, d = R.randint(1940, 2009), R.randint(1, 12), R.randint(1, 28)
    b = '%02d%02d%02d' % (y % 100, m + (20 if y > 1999 else 0), d) + digits(4)
    return b + str(-sum(int(c) * w for c, w in zip(b, [1, 3, 7, 9] * 3)) % 10)


def bsn():
    while True:
        b = digits(8, '123456789')
        s = sum(int(c) * w for c, w in zip(b, range(9, 1, -1))) % 11
        if s < 10:
            return b + str(s)


def nhs():
    while True:
        b = digits(9, '4679')
        s = (11 - sum(int(c) * w for c, w in zip(b, range(10, 1, -1))) % 11) % 11
        if s < 10:
            return b + str(s)


def cpf():
    b = digits(9)
    for n in (10, 11):
        b += str(sum(int(c) * w for c, w in zip(b, range(n, 1, -1))) * 10 % 11 % 10)
    return b


def dni():
    n = R.randint(1000000, 99999999)
    return '%08d' % n + 'TRWAGMYFPDXBNJZSQVHLCKE'[n % 23]


def nie():
    p, n = R.choice('XYZ'), R.randint(0, 9999999)
    return p + '%07d' % n + 'TRWAGMYFPDXBNJZSQVHLCKE'[('XYZ'.index(p) * 10 ** 7 + n) % 23]


def codice(omocodia=False):
    cons = 'BCDFGLMNPRSTVZ'
    b = some(cons, 6) + digits(2) + R.choice('ABCDEHLMPRST')
    day = R.randint(1, 31) + R.choice([0, 40])
    b += '%02d' % day + R.choice('ABCDEFGHIL') + '%03d' % R.randint(1, 999)
    if omocodia:
        b = b[:14] + 'LMNPQRSTUV'[int(b[14])]
    odd = dict(zip('0123456789' + UP, [1, 0, 5, 7, 9, 13, 15, 17, 19, 21] +
                   [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23]))
    s = sum(odd[c] if i % 2 == 0 else (int(c) if c.isdigit() else ord(c) - 65) for i, c in enumerate(b))
    return b + chr(65 + s % 26)


D5 = [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 4, 0, 6, 7, 8, 9, 5], [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
      [3, 4, 0, 1, 2, 8, 9, 5, 6, 7], [4, 0, 1, 2, 3, 9, 5, 6, 7, 8], [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
      [6, 5, 9, 8, 7, 1, 0, 4, 3, 2], [7, 6, 5, 9, 8, 2, 1, 0, 4, 3], [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
      [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]]


def aadhaar():
    b, perm = digits(11, '23456789'), [list(range(10))]
    for _ in range(7):
        perm.append([[1, 5, 7, 6, 2, 8, 3, 0, 9, 4][x] for x in perm[-1]])
    for check in '0123456789':
        c = 0
        for i, x in enumerate(reversed(b + check)):
            c = D5[c][perm[i % 8][int(x)]]
        if c == 0:
            return b + check


def nino():
    while True:
        p = R.choice('ABCEGHJKLMNOPRSTWXYZ') + R.choice('ABCEGHJKLMNPRSTWXYZ')
        if p not in ('BG', 'GB', 'KN', 'NK', 'NT', 'TN', 'ZZ'):
            return p + digits(6) + R.choice('ABCD')


def ssn():
    a = R.choice([x for x in range(1, 900) if x != 666])
    return '%03d-%02d-%04d' % (a, R.randint(1, 99), R.randint(1, 9999))


def group(s, *lens, sep=' '):
    parts, at = [], 0
    for n in lens:
        parts.append(s[at:at + n])
        at += n
    return sep.join(parts + ([s[at:]] if at < len(s) else []))


def wrong(s):
    """The last digit or letter changed."""
    return s[:-1] + (str((int(s[-1]) + R.randint(1, 9)) % 10) if s[-1].isdigit()
                     else UP[(UP.index(s[-1]) + 1) % 26])


# ---- lines ----

def put(kind, value, templates):
    OUT.append(R.choice(templates).replace('@@', '{{%s:%s}}' % (kind, value)))


def plain(text):
    OUT.append(text)


ANY = ['@@', 'Value: @@', '"@@"', 'see @@, thanks', '- @@\\n- next', '(@@)', 'a;@@;b', 'It is @@.', 'получено: @@.',
       '値は@@です。', 'Wert = @@', 'le voici : @@', '<td>@@</td>', 'x\\t@@\\ty', '[@@]', '* @@ *']
NAMES = ['anna', 'bob', 'carol', 'dmitri', 'elif', 'fatima', 'george', 'hans', 'ines', 'jose', 'kim', 'liu', 'maria', 'noor', 'olga', 'pedro']
SURS = ['smith', 'mueller', 'garcia', 'rossi', 'novak', 'tanaka', 'okafor', 'silva', 'kowalska', 'jensen', 'patel', 'nguyen']
HOSTS = ['example.com', 'mail.example.org', 'uni-koeln.de', 'corp.example.co.uk', 'firma.pl', 'empresa.com.br', 'web.fr', 'a.io', 'my-shop.store', 'x1.example.net']

for i in range(120):
    f, s = R.choice(NAMES), R.choice(SURS)
    local = R.choice(['%s.%s', '%s_%s', '%s%s', '%s-%s', '%s.%s+tag', '%s.%s99']) % (f, s)
    put('email', local + '@' + R.choice(HOSTS), ANY + ['Mail: @@', '<@@>', 'mailto:@@', 'From: X <@@>', '邮箱@@，谢谢', 'écris à @@ !', 'user=@@&x=1'])

E164 = ['+1 ###-555-####', '+44 20 #### ####', '+44 7### ######', '+33 6 ## ## ## ##', '+49 30 #######', '+49 171 #######',
        '+34 6## ### ###', '+39 3## #######', '+31 6 ########', '+32 4## ## ## ##', '+41 79 ### ## ##', '+43 664 #######',
        '+351 91# ### ###', '+353 87 ### ####', '+46 70 ### ## ##', '+47 9## ## ###', '+45 ## ## ## ##', '+358 40 ### ####',
        '+48 6## ### ###', '+7 9## ###-##-##', '+90 53# ### ## ##', '+91 98### #####', '+86 138 #### ####', '+81 90-####-####',
        '+82 10-####-####', '+61 4## ### ###', '+27 82 ### ####', '+55 11 9####-####', '+52 55 #### ####', '+65 9### ####']


def dial(form):
    s = ''.join(R.choice('23456789') if c == '#' else c for c in form)
    return s


for i in range(150):
    put('phone', dial(R.choice(E164)).replace(' ', R.choice([' ', ' ', '', '-', '\u00a0'])), ANY + ['Tel. @@', 'call @@ now', 'tel:@@'])
ALONE = ['(###) ###-####', '###-###-####', '###.###.####', '07### ######', '020 7### ####', '06 ## ## ## ##', '01.##.##.##.##',
         '0171 #######', '0151-########', '089/######', '(030) ########', '06-########', '020-#######', '6## ## ## ##', '9# ### ## ##',
         '347-#######', '8 (9##) ###-##-##', '05## ### ## ##', '(11) 9####-####', '(21) ####-####', '04## ### ###', '(02) #### ####',
         '010-########', '03-####-####', '090-####-####', '138 #### ####', '079 ### ## ##', '082 ### ####', '5##-###-###']
for i in range(120):
    put('phone', dial(R.choice(ALONE)), ['@@', 'Value: @@', '"@@"', 'see @@, thanks', '(or @@)', 'x; @@; y', 'Fax @@', 'It is @@.'])
SPOKEN = [('Tel. @@', '030 ######'), ('Telefon: @@', '0221 ## ## ##'), ('phone @@', '##########'), ('Phone: @@', '555-####'), ('mobile: @@', '07#########'),
          ('Teléfono: @@', '6########'), ('móvil @@', '6## ### ###'), ('tél : @@', '0#########'), ('cellulare @@', '3#########'), ('telefoon @@', '06########'),
          ('tel. kom. @@', '6## ### ###'), ('telefone @@', '11 9########'), ('Тел: @@', '8 9## ### ## ##'), ('手机@@', '13#########'), ('電話 @@', '03-####-####'),
          ('전화: @@', '02-###-####'), ('Tlf. @@', '## ## ## ##'), ('mobil @@', '07########'), ('telefon @@', '0532#######'), ('Please call @@ today', '0#########'),
          ('WhatsApp: @@', '98########'), ('phone_number=@@', '4#########'), ('"phone": "@@"', '2#########'), ('Handy @@ (abends)', '0160/#######'), ('reach me on @@', '0#### ######')]
for i in range(100):
    t, f = R.choice(SPOKEN)
    put('phone', dial(f), [t])

IIN = [('4', 16), ('5%d' % R.randint(1, 5), 16), ('2%d' % R.randint(230, 719), 16), ('34', 15), ('37', 15), ('6011', 16), ('65', 16), ('36', 14), ('3530', 16), ('62', 16)]
for i in range(110):
    p, n = R.choice(IIN)
    c = luhn(p + digits(n - 1 - len(p)))
    sep = R.choice([' ', '-', ''])
    if sep:
        c = group(c, 4, 6, sep=sep) if n == 15 else group(c, 4, 6, sep=sep) if n == 14 else group(c, 4, 4, 4, sep=sep)
    put('card', c, ANY + ['card @@', 'Kreditkarte: @@', 'visa @@ exp 09/28'])
for i in range(60):
    p, n = R.choice(IIN)
    c = wrong(luhn(p + digits(n - 1 - len(p))))
    plain(R.choice(['card %s', 'Value: %s', '"%s"', 'ref %s']) % (c if R.random() < .5 or n != 16 else group(c, 4, 4, 4)))

BBAN = {'DE': 18, 'AT': 16, 'CH': 17, 'ES': 20, 'BE': 12, 'PL': 24, 'PT': 21, 'DK': 14, 'FI': 14, 'SE': 20, 'NO': 11, 'CZ': 20, 'HU': 24, 'LT': 16, 'HR': 17}
LET = {'GB': (4, 14), 'NL': (4, 10), 'IE': (4, 14), 'RO': (4, 16), 'BG': (4, 14), 'LV': (4, 13)}
for i in range(110):
    if R.random() < .6:
        cc = R.choice(list(BBAN))
        v = iban(cc, digits(BBAN[cc]))
    else:
        cc = R.choice(list(LET))
        v = iban(cc, some(UP, LET[cc][0]) + digits(LET[cc][1]))
    put('iban', R.choice([v, group(v, *[4] * 8)]).strip(), ANY + ['IBAN: @@', 'Konto @@', 'IBAN@@'.replace('IBAN', 'IBAN ')])
    if i % 2:
        plain('IBAN %s' % wrong(v))

for i in range(60):
    v = ssn()
    put('us_ssn', v, ANY + ['SSN @@', 'ssn: @@'])
    put('us_ssn', v.replace('-', R.choice(['', ' '])), ['SSN: @@', 'social security number @@', 'ssn=@@', 'his SSN is @@.'])
    plain('ssn %s-%02d-%04d' % (R.choice(['000', '666', '912']), R.randint(1, 99), R.randint(1, 9999)))

for i in range(60):
    v = de_tax()
    put('de_tax_id', group(v, 2, 3, 3), ANY + ['Steuer-ID @@'])
    put('de_tax_id', v, ['Steuer-ID: @@', 'Steueridentifikationsnummer @@', 'IdNr @@', 'steuerliche Identifikationsnummer: @@', 'steuer_id=@@'])
    plain(R.choice(['Steuer-ID %s', 'IdNr. %s', 'Vorgang %s']) % wrong(v))
for i in range(60):
    v = dni()
    put('es_dni', R.choice([v, v[:8] + '-' + v[8]]), ANY + ['DNI @@', 'NIF: @@'])
    v = nie()
    put('es_dni', R.choice([v, v[0] + '-' + v[1:8] + '-' + v[8]]), ANY + ['NIE @@', 'NIE: @@'])
    plain('DNI ' + wrong(dni()))
for i in range(90):
    v = codice(i % 6 == 0)
    put('it_codice_fiscale', R.choice([v, v, v.lower()]), ANY + ['CF: @@', 'codice fiscale @@'])
    if i % 2:
        plain('codice fiscale ' + wrong(v))
for i in range(90):
    v = nir(i % 8 == 0)
    put('fr_nir', group(v, 1, 2, 2, 2, 3, 3), ANY + ['NIR @@', 'n° de sécurité sociale : @@'])
    if i % 2:
        put('fr_nir', v, ['NIR @@', 'Sécu: @@', 'numéro de sécurité sociale @@'])
    plain('NIR ' + wrong(v) if v[-1] != '9' else 'NIR ' + v[:-2] + '98')
for i in range(90):
    put('nl_bsn', bsn(), ['BSN @@', 'bsn: @@', 'burgerservicenummer @@', 'Mijn BSN is @@.', '"bsn": "@@"'])
    plain('BSN ' + wrong(bsn()) if i % 2 else 'nummer ' + bsn() + ' in de rij')
for i in range(90):
    put('pl_pesel', pesel(), ['PESEL @@', 'PESEL: @@', 'nr PESEL @@', 'pesel=@@', 'Numer PESEL pacjenta to @@.'])
    plain('PESEL ' + wrong(pesel()) if i % 2 else 'Faktura ' + pesel())
for i in range(90):
    v = cpf()
    put('br_cpf', '%s.%s.%s-%s' % (v[:3], v[3:6], v[6:9], v[9:]), ANY + ['CPF @@'])
    if i % 2:
        put('br_cpf', v, ['CPF @@', 'cpf: @@', 'meu CPF é @@.', '"cpf":"@@"'])
    v = wrong(v)
    plain('CPF %s.%s.%s-%s' % (v[:3], v[3:6], v[6:9], v[9:]))
for i in range(90):
    v = nhs()
    put('uk_nhs', R.choice([v, group(v, 3, 3)]), ['NHS number: @@', 'NHS no. @@', 'nhs_number=@@', 'Her NHS number is @@.', 'NHS @@'])
    plain('NHS number ' + wrong(v))
for i in range(90):
    v = nino()
    put('uk_nino', R.choice([v, group(v, 2, 2, 2, 2)]), ANY + ['NI number @@', 'National Insurance number: @@', 'NINO @@'])
    if i % 3 == 0:
        plain('NINO ' + R.choice(['BG', 'GB', 'DA', 'QQ', 'AO', 'ZZ', 'FY']) + v[2:])
for i in range(90):
    v = aadhaar()
    put('in_aadhaar', group(v, 4, 4), ANY + ['Aadhaar: @@', 'आधार @@'])
    if i % 2:
        put('in_aadhaar', v, ['Aadhaar @@', 'aadhaar_no=@@', 'आधार संख्या @@'])
    plain('Aadhaar ' + group(wrong(v), 4, 4))

for i in range(90):
    v = '%d.%d.%d.%d' % (R.choice([10, 172, 192, 203, 8, 54, 91]), R.randint(0, 255), R.randint(0, 255), R.randint(1, 254))
    put('ip', v, ANY + ['from @@ port 22', 'http://@@/x', '@@:8080', '@@/24', 'host=@@'])
    six = ['%x' % R.randint(1, 0xffff) for _ in range(8)]
    six[0] = R.choice(['2001', 'fe80', 'fd12', '2a02'])
    v = ':'.join(six) if i % 3 else ':'.join(six[:3]) + '::' + ':'.join(six[5:7])
    put('ip', v, ['@@', 'Value: @@', '[@@]:443', 'from @@ port 22', 'http://[@@]/', '@@/64', 'inet6 @@ scope'])
    a, b, c, d = R.randint(0, 20), R.randint(0, 20), R.randint(0, 300), R.randint(0, 9)
    plain(R.choice(['version %d.%d.%d.%d', 'v%d.%d.%d.%d', 'Release %d.%d.%d.%d is out', '%d.%d.%d.%d.1', 'Section %d.%d.%d.%d', '%d.%d.%d-rc%d', 'Chrome/%d.%d.%d.%d']) % (a, b, c, d))
for i in range(70):
    pairs = ['%02x' % R.randint(0, 255) for _ in range(6)]
    v = R.choice([':'.join(pairs), '-'.join(pairs), ':'.join(pairs).upper(), '.'.join(a + b for a, b in zip(pairs[::2], pairs[1::2]))])
    put('mac', v, ['@@', 'Value: @@', '"@@"', 'HWaddr @@', 'mac=@@', 'ether @@ txqueuelen', '(@@)'])
    plain('fingerprint ' + ':'.join('%02x' % R.randint(0, 255) for _ in range(R.choice([8, 16, 20]))))
for i in range(70):
    v = R.choice(['admin', 'root', 'app', 'svc-1', 'user%40x']) + ':' + R.choice([mixed(ALNUM, 10), 'p-' + digits(4), 'S3cr3t!', 'abc%2Fdef'])
    s = R.choice(['https', 'postgres', 'mysql', 'redis', 'amqp', 'mongodb+srv', 'ftp', 'smb'])
    put('url_credentials', v, [s + '://@@@host.example.com/x', 'DB=' + s + '://@@@10.1.1.1:5432/d', '"' + s + '://@@@db"', 'curl ' + s + '://@@@h/a?b=c'] )
    OUT[-1] = OUT[-1].replace('@10.1.1.1', '@{{ip:10.1.1.1}}')
    plain(s + '://host.example.com:80/a/b?c=d')

MONTHS = [('born %d %s %d', 'January March June October'), ('born on %s %d, %d', 'January March June October'), ('geboren am %d. %s %d', 'Januar März Juni Oktober'),
          ('née le %d %s %d', 'janvier mars juin octobre'), ('nacido el %d de %s de %d', 'enero marzo junio octubre'), ('nato il %d %s %d', 'gennaio marzo giugno ottobre'),
          ('nascido em %d de %s de %d', 'janeiro março junho outubro'), ('geboren op %d %s %d', 'januari maart juni oktober'), ('urodzony %d %s %d', 'stycznia marca czerwca października'),
          ('родился %d %s %d', 'января марта июня октября')]
for i in range(70):
    t, m = R.choice(MONTHS)
    d, m, y = R.randint(1, 28), R.choice(m.split()), R.randint(1930, 2012)
    if t.index('%d') < t.index('%s'):
        value = t[t.index('%d'):] % (d, m, y)
    else:
        value = t[t.index('%s'):] % (m, d, y)
    put('birth_date', value, [t[:t.index('%')] + '@@', t[:t.index('%')] + '@@ in X.'])
for i in range(80):
    d, m, y = R.randint(1, 28), R.randint(1, 12), R.randint(1930, 2012)
    v = R.choice(['%d-%02d-%02d' % (y, m, d), '%02d/%02d/%d' % (d, m, y), '%02d.%02d.%d' % (d, m, y), '%02d-%02d-%d' % (d, m, y), '%d/%d/%02d' % (m, d, y % 100)])
    put('birth_date', v, ['DOB: @@', 'date of birth @@', 'Geburtsdatum: @@', 'date de naissance : @@', 'fecha de nacimiento @@', 'data di nascita: @@', 'data de nascimento @@',
                          'geboortedatum: @@', 'data urodzenia @@', 'дата рождения: @@', '"birth_date": "@@"', '出生日期：@@', '생년월일 @@', 'Birthday: @@', 'dateOfBirth=@@'])
    plain(R.choice(['due %s', 'Invoice of %s', 'on %s we met', 'Stand: %s', 'valid until %s', 'updated_at=%s', '日期：%s']) % v)

for i in range(40):
    body = '\\n'.join(some(B64, 64) for _ in range(R.randint(2, 6)))
    label = R.choice(['RSA PRIVATE KEY', 'PRIVATE KEY', 'EC PRIVATE KEY', 'OPENSSH PRIVATE KEY', 'ENCRYPTED PRIVATE KEY', 'PGP PRIVATE KEY BLOCK'])
    put('private_key', '-----BEGIN %s-----\\n%s\\n-----END %s-----' % (label, body, label), ['@@', 'key:\\n@@\\n', '"@@"', '<pre>@@</pre>'])
    if i % 2:
        plain('-----BEGIN %s-----\\n%s\\n-----END X-----' % (R.choice(['CERTIFICATE', 'PUBLIC KEY', 'RSA PUBLIC KEY']), body))
TOKENS = [lambda: 'AKIA' + some(UP + '234567', 15) + '7', lambda: 'AIza' + mixed(ALNUM + '_-', 34) + '5', lambda: 'ghp_' + mixed(ALNUM, 36), lambda: 'gho_' + mixed(ALNUM, 36),
          lambda: 'github_pat_' + mixed(ALNUM, 22) + '_' + mixed(ALNUM, 59), lambda: 'glpat-' + mixed(ALNUM, 20), lambda: 'xoxb-' + digits(11) + '-' + digits(12) + '-' + mixed(ALNUM, 24),
          lambda: 'sk_live_' + mixed(ALNUM, 24), lambda: 'rk_test_' + mixed(ALNUM, 24), lambda: 'sk-' + mixed(ALNUM, 48), lambda: 'sk-ant-api03-' + mixed(ALNUM, 40), lambda: 'hf_' + mixed(ALNUM, 34),
          lambda: 'npm_' + mixed(ALNUM, 36), lambda: 'SG.' + mixed(ALNUM, 22) + '.' + mixed(ALNUM, 43), lambda: 'dop_v1_' + some(HEX, 64), lambda: 'shpat_' + some(HEX, 32),
          lambda: 'eyJhbGciOiJIUzI1NiJ9.eyJ' + mixed(ALNUM, 30) + '.' + mixed(ALNUM + '_', 42) + '1', lambda: digits(9, '123456789') + ':AA' + mixed(ALNUM, 33), lambda: 'dapi' + some(HEX, 32), lambda: 'hvs.' + mixed(ALNUM, 24),
          lambda: 'glsa_' + mixed(ALNUM, 32) + '_' + some(HEX, 8), lambda: 'whsec_' + mixed(ALNUM, 32), lambda: 'GOCSPX-' + mixed(ALNUM, 28)]
for i in range(130):
    put('secret', TOKENS[i % len(TOKENS)](), ['@@', 'Value: @@', '"@@"', 'token @@ leaked', 'export X=@@', 'the key is @@.', '`@@`', 'x\\t@@\\ty', '(@@)', 'TOKEN=@@'])
for i in range(100):
    t, v = R.choice([('password: @@', mixed(ALNUM + '!#', 10) + '9'), ('api_key = "@@"', mixed(ALNUM, 32)), ('apiKey: \'@@\'', mixed(ALNUM, 40)), ('aws_secret_access_key = @@', mixed(B64, 40).replace('=', 'x')),
                     ('"client_secret": "@@"', mixed(ALNUM + '_-', 36)), ('DB_PASSWORD=@@', mixed(ALNUM, 12)), ('Authorization: Bearer @@', mixed(ALNUM, 40)), ('Passwort: @@', mixed(LOW + '0123456789', 9) + '7'),
                     ('access_token=@@', mixed(ALNUM, 30)), ('--password @@', mixed(ALNUM, 11)), ('mot de passe : @@', mixed(ALNUM, 9)), ('contraseña: @@', mixed(ALNUM, 9)), ('senha: @@', mixed(ALNUM, 8)),
                     ('пароль: @@', mixed(ALNUM, 9)), ('密码：@@', mixed(ALNUM, 9)), ('my password is @@', mixed(ALNUM, 10)), ('secret_key=@@', some(HEX, 32)), ('x-api-key: @@', mixed(ALNUM, 36)), ('AccountKey=@@;x', mixed(B64, 86) + '==')])
    put('secret', v, [t])

# ---- hard negatives ----
WORDS = 'time year people way day man thing woman life child world school state family student group country problem hand part place case week company system program question work government number night point home water room mother area money story fact month lot right study book eye job word business issue side kind head house service friend father power hour game line end member law car city community'.split()
for i in range(60):
    plain(' '.join(R.choice(WORDS) for _ in range(R.randint(5, 14))).capitalize() + '.')
for i in range(50):
    plain(R.choice(['Order %s shipped', 'order no. %s', 'Bestellnummer %s', 'commande %s', 'pedido %s', 'Invoice #%s', '订单%s', 'Tracking: %s', 'Ticket %s']) % digits(R.choice([8, 9, 10, 11, 12]), '123456789'))
for i in range(50):
    plain(R.choice(['uuid %s', 'id=%s', '%s', '"%s"']) % '-'.join(some(HEX, n) for n in (8, 4, 4, 4, 12)))
for i in range(50):
    plain(R.choice(['sha256:%s', 'commit %s', 'md5 %s', '%s  file.tar.gz', 'etag "%s"']) % some(HEX, R.choice([32, 40, 64])))
for i in range(40):
    plain(R.choice(['ISBN 978-3-16-%s-0', 'ISBN 0-306-%s-2', 'EAN 400%s', 'UPC %s', 'ISSN 0317-%s', 'DOI 10.1000/%s', 'arXiv:2104.%s', 'RFC %s']) % digits(R.choice([5, 6])))
for i in range(50):
    plain(R.choice(['%d.%d.%d', 'v%d.%d.%d-beta', '>= %d.%d, < %d', 'python%d.%d.%d', 'libfoo.so.%d.%d.%d', '%d,%d,%d total', '%dx%dx%d mm']) % (R.randint(0, 30), R.randint(0, 99), R.randint(0, 999)))
for i in range(50):
    plain(R.choice(['%d EUR', '$%d.00', '%d kg', 'population %d', 'ts=%d', 'offset %d', 'total: %d bytes', '%d ms', 'row %d', 'seed %d']) % R.randint(10 ** 5, 10 ** 10))
for i in range(40):
    plain(R.choice(['2024-%02d-%02d to 2025-%02d-%02d', 'from %02d:%02d:00 until %02d:%02d:59', '%02d/%02d and %02d/%02d', 'rows %d-%d, columns %d-%d', '%d:%d, %d:%d']) % (R.randint(1, 12), R.randint(1, 28), R.randint(1, 12), R.randint(1, 28)))
CODE = ['int x[%d] = {%d};', 'for (i = 0; i < %d; i += %d) sum += a[i];', 'x = f(%d, %d)', 'return n * %d + %d;', '#define MASK 0x%x /* %d */', 'foo@bar[%d] -> %d', 'std::map<int, a::b%d> m(%d);', 'margin: %dpx %dpx;',
        '@decorator(%d)\\ndef f(x=%d): pass', 'SELECT * FROM t LIMIT %d OFFSET %d;', 'git log -%d --format=%%h@{%d}', 'npm i lib@%d.%d.0', 'git@github.com:org/repo%d.git #%d', 'password = get_password(%d, %d)', 'if (token == NULL || key[%d] > %d)', 'tokens: %d, max_tokens: %d']
for i in range(60):
    plain(R.choice(CODE) % (R.randint(1, 99999), R.randint(1, 99999)))
PROSE = ['The password must have at least eight characters.', 'Please reset your password.', 'Passwort vergessen?', 'La contraseña no es válida.', 'api_key: string', 'token: Optional[str] = None', 'secret: ${SECRET}', 'password: ********',
         'key: value', 'The key is under the mat.', 'Bearer of bad news', 'Basic training starts', 'born to run', 'He was born in Paris.', 'Geburtsdatum fehlt', 'Date of birth: unknown', 'phone: none', 'Call me maybe', 'ring 3 times', 'card game', 'Tel Aviv', 'mobile first',
         'Visa is required for 30 days.', 'National Insurance is a tax.', 'NHS waiting lists grew by 7%.', 'PESEL to numer.', 'Aadhaar is a scheme.', 'social security benefits', 'CPF e RG', 'DNI caducado', '10 Downing Street', 'cell 42', 'call 911', 'dial 112', 'BSN verplicht',
         'Steuer 2024', 'Steuernummer folgt', 'IBAN folgt', 'IP rating IP67', 'MAC address unknown', 'HTTP 404', 'RTX 4090', 'Boeing 747-400', 'A380-800', 'ISO 9001:2015', 'DIN EN 60601-1', 'U+1F600', '50°N 8°E', '3.14159265358979', '1e-10', '6.02214076e23', '299792458 m/s',
         '1,234,567.89', '1.234.567,89', '1 234 567,89', '₹12,34,567', '2^31-1 = 2147483647', '0.1 + 0.2', '1/3', '24/7', '9-to-5', '50-50', 'C3PO and R2D2', 'Windows 11 22H2', 'x86_64', 'utf-8', 'AB-CD-EF', 'a::b::c', '::', '::1', '127.0.0.1', '0.0.0.0', 'fe::', '00:00', '12:34:56.789', '1:2:3:4', 'localhost:8080']
for p in PROSE:
    plain(p)

print('# Made by generate.py; entities are {{kind:text}}, a line without one is a hard negative.')
for line in OUT:
    print(line)
