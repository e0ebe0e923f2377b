package dsn

import "slices"

// A wordIndex finds many phrases in one pass over a text, whatever their
// number. A phrase has at least three bytes and is found where a word starts.
type wordIndex struct {
	two   [1 << 16 / 64]uint64 // the first two bytes of the phrases: most places of a text have no such pair
	three map[[3]byte][]phrase
}

type phrase struct {
	text  string
	group int
}

func newWordIndex() *wordIndex { return &wordIndex{three: map[[3]byte][]phrase{}} }

func (x *wordIndex) add(text string, group int) {
	if len(text) < 3 {
		return
	}
	pair := uint(text[0])<<8 | uint(text[1])
	x.two[pair/64] |= 1 << (pair % 64)
	key := [3]byte([]byte(text[:3]))
	x.three[key] = append(x.three[key], phrase{text, group})
}

// done sorts the phrases that start alike, the longest first.
func (x *wordIndex) done() *wordIndex {
	for _, list := range x.three {
		slices.SortStableFunc(list, func(a, b phrase) int { return len(b.text) - len(a.text) })
	}
	return x
}

// at gives the phrases that may start at s[i]; s[i+2] must be there.
func (x *wordIndex) at(s string, i int) []phrase {
	pair := uint(s[i])<<8 | uint(s[i+1])
	if x.two[pair/64]&(1<<(pair%64)) == 0 || i > 0 && letter(s[i-1]) && letter(s[i]) {
		return nil
	}
	return x.three[[3]byte([]byte(s[i:i+3]))]
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' }
