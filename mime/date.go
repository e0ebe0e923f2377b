package mime

import (
	"strings"
	"time"
)

// maxDate bounds the text that ParseDate looks at.
const maxDate = 256

// obsoleteZones are the zone names of RFC 5322 4.3 and those that old mail has,
// in minutes east of UTC. Unknown names count as UTC, as that section demands.
var obsoleteZones = map[string]int{
	"UT": 0, "UTC": 0, "GMT": 0, "Z": 0,
	"EST": -300, "EDT": -240, "CST": -360, "CDT": -300, "MST": -420, "MDT": -360, "PST": -480, "PDT": -420,
	"AST": -240, "ADT": -180, "AKST": -540, "AKDT": -480, "HST": -600,
	"WET": 0, "WEST": 60, "BST": 60, "CET": 60, "MET": 60, "CEST": 120, "MEST": 120, "MESZ": 120, "MEZ": 60,
	"EET": 120, "EEST": 180, "MSK": 180, "MSD": 240, "JST": 540, "KST": 540, "NZST": 720, "NZDT": 780,
}

var monthNames = [...]string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}

// ParseDate reads the date and time of a header field (RFC 5322 3.3 and 4.3),
// and the forms that senders write instead: without weekday or seconds, with
// two-digit years, named zones, ISO 8601 and C's asctime. Without a zone the
// time is UTC.
func ParseDate(s string) (time.Time, bool) {
	if len(s) > maxDate {
		s = s[:maxDate]
	}
	var d dateParts
	d.day, d.month, d.year, d.hour, d.zone = -1, -1, -1, -1, noZone
	var buf [8]string
	toks := dateTokens(buf[:0], s)
	for i, tok := range toks {
		// Blanks and comments may stand around the colons (RFC 5322 4.3).
		if i+1 < len(toks) && (strings.HasSuffix(tok, ":") || toks[i+1][0] == ':') && tok[0] >= '0' && tok[0] <= '9' {
			toks[i+1] = tok + toks[i+1]
			continue
		}
		d.take(tok)
	}
	return d.time()
}

// dateTokens cuts a date at blanks and commas, comments left out.
func dateTokens(toks []string, s string) []string {
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '(':
			n := commentLen(s[i:])
			if n == 0 {
				return toks
			}
			i += n
		case c == ' ' || c == '\t' || c == ',' || c == ')':
			i++
		default:
			j := i
			for j < len(s) && strings.IndexByte(" \t,(", s[j]) < 0 {
				j++
			}
			toks = append(toks, s[i:j])
			i = j
		}
	}
	return toks
}

const noZone = 1 << 20

type dateParts struct {
	day, month, year  int
	hour, min, sec    int
	zone              int // minutes east
	pm, am, isoString bool
}

func (d *dateParts) take(tok string) {
	c := tok[0]
	switch {
	case strings.IndexByte(tok, ':') > 0 && c >= '0' && c <= '9':
		d.clock(tok)
	case (c == '+' || c == '-') && d.hour >= 0:
		d.offset(tok)
	case c >= '0' && c <= '9':
		tok = strings.TrimRight(tok, ".")                                               // "2. Jan"
		if d.year >= 0 && d.day >= 0 && d.hour < 0 && strings.IndexByte(tok, '.') > 0 { // "15.04.05"
			d.clock(strings.ReplaceAll(tok, ".", ":"))
			return
		}
		if strings.ContainsAny(tok, "-/.") || len(tok) >= 9 {
			d.dashed(tok)
			return
		}
		if n, ok := smallNumber(tok); ok {
			d.number(n, len(tok))
		}
	default:
		d.word(tok)
	}
}

// clock reads "hh:mm[:ss[.fff]]", with a zone or AM/PM glued on perhaps.
func (d *dateParts) clock(tok string) {
	if t := strings.IndexByte(tok, 'T'); t > 0 { // ISO 8601
		d.dashed(tok[:t])
		d.isoString = true
		tok = tok[t+1:]
	}
	var v [3]int
	n, i := 0, 0
	for n < 3 {
		j := i
		for j < len(tok) && tok[j] >= '0' && tok[j] <= '9' {
			j++
		}
		x, ok := smallNumber(tok[i:j])
		if !ok {
			return
		}
		v[n] = x
		n++
		if i = j; i == len(tok) || tok[i] != ':' {
			break
		}
		i++
	}
	if n < 2 || d.hour >= 0 {
		return
	}
	d.hour, d.min, d.sec = v[0], v[1], v[2]
	if i < len(tok) && tok[i] == '.' {
		for i++; i < len(tok) && tok[i] >= '0' && tok[i] <= '9'; i++ {
		}
	}
	if i < len(tok) {
		if tok[i] == '+' || tok[i] == '-' {
			d.offset(tok[i:])
		} else {
			d.word(tok[i:])
		}
	}
}

// offset reads "+hhmm", "+hh:mm" or "+hh".
func (d *dateParts) offset(tok string) {
	if d.zone != noZone {
		return
	}
	digits := strings.Replace(tok[1:], ":", "", 1)
	k := 0
	for k < len(digits) && digits[k] >= '0' && digits[k] <= '9' {
		k++
	}
	n, ok := smallNumber(digits[:k])
	if !ok {
		return
	}
	if k <= 2 {
		n *= 100
	}
	d.zone = n/100*60 + n%100
	if tok[0] == '-' {
		d.zone = -d.zone
	}
	if d.zone > 24*60 || d.zone < -24*60 {
		d.zone = 0
	}
}

// dashed reads "2-Jan-2006", "2006-01-02" and "20060102".
func (d *dateParts) dashed(tok string) {
	f := strings.FieldsFunc(tok, func(r rune) bool { return r == '-' || r == '/' || r == '.' })
	if len(f) != 3 {
		return
	}
	if len(f[0]) == 4 {
		y, ok1 := smallNumber(f[0])
		m, ok2 := smallNumber(f[1])
		day, ok3 := smallNumber(f[2])
		if ok1 && ok2 && ok3 {
			d.year, d.month, d.day = y, m-1, day
		}
		return
	}
	if m, ok := smallNumber(f[1]); ok && m >= 1 && m <= 12 {
		d.month = m - 1
	}
	for i, x := range f {
		if i != 1 || d.month < 0 {
			d.take(x)
		}
	}
}

func (d *dateParts) number(n, digits int) {
	switch {
	case d.day < 0 && (digits <= 2 || digits == 3 && n <= 31):
		d.day = n
	case d.year < 0 && (d.month >= 0 || digits == 4):
		d.year = n
		// RFC 5322 4.3: two digits below 50 are 20xx, other two and three
		// digits count from 1900.
		if digits == 2 && n < 50 {
			d.year += 2000
		} else if digits < 4 {
			d.year += 1900
		}
	}
}

func (d *dateParts) word(tok string) {
	low := strings.ToLower(strings.Trim(tok, "."))
	switch low {
	case "pm":
		d.pm = true
		return
	case "am":
		d.am = true
		return
	}
	if len(low) >= 3 && d.month < 0 {
		for i, m := range monthNames {
			if low[:3] == m {
				d.month = i
				return
			}
		}
	}
	if d.hour < 0 || d.zone != noZone {
		return // a weekday, or words after the zone
	}
	if k := strings.IndexAny(tok, "+-"); k > 0 { // "GMT+0200"
		if _, ok := obsoleteZones[strings.ToUpper(tok[:k])]; ok {
			d.offset(tok[k:])
			return
		}
	}
	if z, ok := obsoleteZones[strings.ToUpper(tok)]; ok {
		d.zone = z
	}
}

// daysIn is the length of a month, counted from 0.
func daysIn(month, year int) int {
	return time.Date(year, time.Month(month+2), 0, 0, 0, 0, 0, time.UTC).Day()
}

func (d *dateParts) time() (time.Time, bool) {
	if d.day < 1 || d.day > 31 || d.day > daysIn(d.month, d.year) || d.month < 0 || d.month > 11 || d.year < 0 || d.year > 9999 {
		return time.Time{}, false
	}
	if d.hour < 0 {
		d.hour = 0
	}
	if d.pm && d.hour < 12 {
		d.hour += 12
	}
	if d.am && d.hour == 12 {
		d.hour = 0
	}
	if d.hour > 24 || d.min > 59 || d.sec > 60 {
		return time.Time{}, false
	}
	if d.zone == noZone {
		d.zone = 0
	}
	loc := time.UTC
	if d.zone != 0 {
		loc = time.FixedZone("", d.zone*60)
	}
	t := time.Date(d.year, time.Month(d.month+1), d.day, d.hour, d.min, d.sec, 0, loc)
	if t.Year() < 0 || t.Year() > 9999 {
		return time.Time{}, false
	}
	return t, true
}
