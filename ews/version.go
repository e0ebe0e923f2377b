package ews

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Version is a level of the EWS schema, as requests name it. Exchange 2019
// and Exchange Online take Exchange2016.
type Version uint8

// The levels, oldest first.
const (
	Exchange2007 Version = iota + 1
	Exchange2007SP1
	Exchange2010
	Exchange2010SP1
	Exchange2010SP2
	Exchange2013
	Exchange2013SP1
	Exchange2016
)

var versionNames = [...]string{
	Exchange2007: "Exchange2007", Exchange2007SP1: "Exchange2007_SP1",
	Exchange2010: "Exchange2010", Exchange2010SP1: "Exchange2010_SP1", Exchange2010SP2: "Exchange2010_SP2",
	Exchange2013: "Exchange2013", Exchange2013SP1: "Exchange2013_SP1", Exchange2016: "Exchange2016",
}

// String gives the name in requests, "Exchange2010_SP2".
func (v Version) String() string {
	if v >= Exchange2007 && v <= Exchange2016 {
		return versionNames[v]
	}
	return fmt.Sprintf("version(%d)", uint8(v))
}

// ParseVersion reads a name as String gives it, without regard to case, blanks,
// '-' and '_'. Exchange2019 and Online are Exchange2016.
func ParseVersion(name string) (Version, error) {
	key := strings.ToLower(strings.NewReplacer("_", "", "-", "", " ", "").Replace(name))
	key = strings.TrimPrefix(key, "exchange")
	if key == "2019" || key == "online" {
		return Exchange2016, nil
	}
	for v := Exchange2007; v <= Exchange2016; v++ {
		if key == strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(versionNames[v], "Exchange"), "_", "")) {
			return v, nil
		}
	}
	return 0, fmt.Errorf("%q is not one of %s", name, strings.Join(versionNames[1:], ", "))
}

// A build is the number that a server gives itself. The zero value is unknown.
type build struct{ major, minor, number int }

func (b build) String() string { return fmt.Sprintf("%d.%d.%d", b.major, b.minor, b.number) }

// buildOf reads ServerVersionInfo. Its Version attribute is of no use: it may be
// missing, or name a level that no request may name.
func buildOf(n *node) (b build, ok bool) {
	if n == nil {
		return b, false
	}
	for _, x := range []struct {
		attr string
		to   *int
	}{{"MajorVersion", &b.major}, {"MinorVersion", &b.minor}, {"MajorBuildNumber", &b.number}} {
		v, err := strconv.Atoi(strings.TrimSpace(n.attr(x.attr)))
		if err != nil && x.attr != "MajorBuildNumber" || v < 0 {
			return build{}, false
		}
		*x.to = v
	}
	return b, b.major > 0
}

// level is the newest level that a server of that build takes.
func (b build) level() Version {
	switch {
	case b.major < 8, b.major == 8 && b.minor == 0:
		return Exchange2007
	case b.major < 14:
		return Exchange2007SP1
	case b.major == 14:
		return min(Exchange2010+Version(min(b.minor, 2)), Exchange2010SP2) //nolint:gosec // 0 to 2
	case b.major == 15 && b.minor == 0:
		if b.number < build2013SP1 {
			return Exchange2013
		}
		return Exchange2013SP1
	}
	return Exchange2016
}

// build2013SP1 is the first build of 15.0 that is SP1.
const build2013SP1 = 847

// refusesVersion tells the codes and words by which servers refuse a level.
func refusesVersion(code, text string) bool {
	return slices.Contains([]string{"ErrorInvalidServerVersion", "ErrorInvalidSchemaVersionForMailboxVersion", "ErrorIncorrectSchemaVersion"}, code) ||
		strings.Contains(text, "The specified server version is invalid")
}
