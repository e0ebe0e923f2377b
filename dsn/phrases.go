package dsn

import (
	_ "embed" // for the phrases
	"strings"
	"sync"
)

//go:embed phrases.txt
var phraseText string

// A phraseGroup is what the phrases of one group tell.
type phraseGroup struct {
	reason  Reason
	command string // the group tells the refused command, not the reason
	delayed bool   // the group tells that it is still being tried
	weak    bool   // counts only where no code tells more
	phrases []string
}

// phraseGroups reads phrases.txt, which says what stands in it.
var phraseGroups = sync.OnceValue(func() []phraseGroup {
	var groups []phraseGroup
	for l := range strings.Lines(phraseText) {
		l = strings.TrimRight(l, "\r\n")
		head, isHead := strings.CutPrefix(l, "= ")
		switch {
		case l == "" || strings.HasPrefix(l, "#"):
		case isHead:
			var g phraseGroup
			kind, name, two := strings.Cut(head, " ")
			switch {
			case kind == "command":
				g.command = name
			case kind == "delayed":
				g.delayed = true
			case two:
				g.weak, g.reason = true, Reason(name)
			default:
				g.reason = Reason(kind)
			}
			groups = append(groups, g)
		default:
			g := &groups[len(groups)-1]
			g.phrases = append(g.phrases, l)
		}
	}
	return groups
})

var phraseIndex = sync.OnceValue(func() *wordIndex {
	x := newWordIndex()
	for i, g := range phraseGroups() {
		for _, p := range g.phrases {
			x.add(p, i)
		}
	}
	return x.done()
})

// findings are what the phrases of a text say.
type findings struct {
	reason, weak Reason
	command      string
	delayed      bool
	groups       uint64 // a bit for each group of a reason, weak ones left out
}

// has reports whether there are words for a reason, though others may rule.
func (f findings) has(reason Reason) bool {
	for i, g := range phraseGroups() {
		if f.groups&(1<<i) != 0 && g.reason == reason {
			return true
		}
	}
	return false
}

// findPhrases reads a text that was made by normalize. Of the phrases of one
// sort the longest counts where several begin, and what is inside it does not:
// "spamhaus" is no "spam".
func findPhrases(s string) findings {
	index, groups := phraseIndex(), phraseGroups()
	var f findings
	type slot struct {
		best  int // the group that rules, one more than its index; 0 for none
		until int // the end of the last phrase
	}
	var strong, weak, command slot
	for i := 0; i+3 <= len(s); i++ {
		for _, p := range index.at(s, i) { // the longest first
			group := &groups[p.group]
			if group.delayed {
				f.delayed = f.delayed || strings.HasPrefix(s[i:], p.text)
				continue
			}
			to := &strong
			switch {
			case group.command != "":
				to = &command
			case group.weak:
				to = &weak
			}
			if i < to.until || !strings.HasPrefix(s[i:], p.text) {
				continue
			}
			to.until = i + len(p.text)
			if to == &strong {
				f.groups |= 1 << p.group
			}
			if to.best == 0 || p.group < to.best-1 {
				to.best = p.group + 1
			}
		}
	}
	if strong.best > 0 {
		f.reason = groups[strong.best-1].reason
	}
	if weak.best > 0 {
		f.weak = groups[weak.best-1].reason
	}
	if command.best > 0 {
		f.command = groups[command.best-1].command
	}
	return f
}

// normalize makes text comparable with phrases: lower case, blanks single,
// addresses, URLs and the reply codes that folding put between the words left
// out.
func normalize(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for w := range strings.FieldsSeq(strings.ToLower(s)) {
		switch {
		case strings.Contains(w, "://"), strings.HasPrefix(w, "www."):
			continue
		case strings.IndexByte(w, '@') > 0:
			// "from:<a@b>" keeps its first half.
			end := strings.TrimRight(w, ":")
			w = w[:strings.IndexAny(w, "<(['\"@")] + "@" + w[len(end):]
			if at := strings.IndexByte(w, '@'); at > 0 && letter(w[at-1]) {
				w = w[at:]
			}
		case isReplyCode(w), isStatusWord(w):
			continue
		}
		w = plainQuotes.Replace(w)
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(w)
	}
	return b.String()
}

var plainQuotes = strings.NewReplacer("’", "'", "‘", "'", "\"", "", "`", "'")

// isReplyCode reports "550", "550-", "550:" and "550-5.1.1".
func isReplyCode(w string) bool {
	if len(w) < 3 || w[0] < '2' || w[0] > '5' || !digit(w[1]) || !digit(w[2]) {
		return false
	}
	rest := strings.TrimLeft(w[3:], "-:")
	return rest == "" && len(w) <= 4 || w[3:] != rest && isStatusWord(rest)
}

func isStatusWord(w string) bool {
	w = strings.Trim(w, "#():;,-")
	return w != "" && findStatus(w) == w
}
