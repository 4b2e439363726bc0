"""Reports as other runners write them, and reports of every odd shape that XML allows.

All were written for these tests. Each holds the word `canary` in its content at least once, unless it says otherwise,
so that a test can change one byte of what is signed.
"""

from __future__ import annotations

from dataclasses import dataclass

CANARY = (b"canary", b"canarz")


@dataclass(frozen=True, slots=True)
class Document:
    """A report; `change` is what a forger replaces in the signed bytes, `opened` the form of a self-closed root."""

    name: str
    data: bytes
    change: tuple[bytes, bytes] = CANARY
    opened: bytes | None = None

    @property
    def without_signature(self) -> bytes:
        """What is left when the signature is cut out of the signed bytes."""
        return self.data if self.opened is None else self.opened


# --- as other runners write them -------------------------------------------------------------------------------------

SUREFIRE = b"""<?xml version="1.0" encoding="UTF-8"?>
<testsuite xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" \
xsi:noNamespaceSchemaLocation="surefire-test-report.xsd" version="3.0.2" name="com.example.canary.CartTest" \
time="3,000.457" tests="4" errors="1" skipped="1" failures="1" flakes="1">
  <properties>
    <property name="java.specification.version" value="17"/>
    <property name="line.separator" value="&#10;"/>
    <property name="path.separator" value=":"/>
  </properties>
  <testcase name="addsItem" classname="com.example.canary.CartTest" time="0.012"/>
  <testcase name="removesItem" classname="com.example.canary.CartTest" time="0.004">
    <failure message="expected: &lt;1&gt; but was: &lt;2&gt;" type="org.opentest4j.AssertionFailedError"><![CDATA[\
org.opentest4j.AssertionFailedError: expected: <1> but was: <2>
\tat com.example.canary.CartTest.removesItem(CartTest.java:31)
]]></failure>
    <rerunFailure message="again" type="java.lang.AssertionError"><stackTrace>at A.b(A.java:1)</stackTrace>\
<system-out>second try</system-out></rerunFailure>
  </testcase>
  <testcase name="empties" classname="com.example.canary.CartTest" time="0.001">
    <flakyError message="timeout" type="java.util.concurrent.TimeoutException"><stackTrace>x</stackTrace></flakyError>
  </testcase>
  <testcase name="ignored" classname="com.example.canary.CartTest" time="0"><skipped message="later"/></testcase>
</testsuite>
"""

GRADLE = b"""<?xml version="1.0" encoding="UTF-8"?>
<testsuite name="com.example.CanaryTest" tests="2" skipped="0" failures="1" errors="0" \
timestamp="2026-03-01T10:00:00.123Z" hostname="canary-host" time="0.031">
  <properties/>
  <testcase name="works()" classname="com.example.CanaryTest" time="0.011"/>
  <testcase name="[2] caf\xc3\xa9, \xe2\x82\xac 5" classname="com.example.CanaryTest" time="0.02">
    <failure message="java.lang.IllegalStateException: no" type="java.lang.IllegalStateException">\
java.lang.IllegalStateException: no
\tat com.example.CanaryTest.works(CanaryTest.kt:7)
</failure>
  </testcase>
  <system-out><![CDATA[started
]]></system-out>
  <system-err><![CDATA[]]></system-err>
</testsuite>
"""

JEST = b"""<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="jest tests" tests="2" failures="1" errors="0" time="1.271">
  <testsuite name="canary component" errors="0" failures="1" skipped="0" timestamp="2026-03-01T10:00:00" time="0.734" \
tests="2">
    <testcase classname="canary component renders" name="canary component renders" time="0.021">
    </testcase>
    <testcase classname="canary component clicks" name="canary component clicks" time="0.003">
      <failure>Error: expect(received).toBe(expected)

Expected: &quot;on&quot;
Received: &quot;off&quot;
    at Object.&lt;anonymous&gt; (/src/canary.test.tsx:14:20)</failure>
    </testcase>
  </testsuite>
</testsuites>"""

GO = b"""<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="3" failures="1" skipped="1">
\t<testsuite name="example.org/canary" tests="3" failures="1" errors="0" id="0" hostname="build" skipped="1" \
time="0.160" timestamp="2026-03-01T10:00:00Z">
\t\t<properties>
\t\t\t<property name="coverage.statements.pct" value="80.00"></property>
\t\t</properties>
\t\t<testcase name="TestOne" classname="example.org/canary" time="0.060"></testcase>
\t\t<testcase name="TestTwo/sub#01" classname="example.org/canary" time="0.100">
\t\t\t<failure message="Failed"><![CDATA[    canary_test.go:11: got \x7f, want 2]]></failure>
\t\t</testcase>
\t\t<testcase name="TestThree" classname="example.org/canary" time="0.000">
\t\t\t<skipped message="canary_test.go:20: short"></skipped>
\t\t</testcase>
\t\t<system-out><![CDATA[&gt; is not an entity here]]></system-out>
\t</testsuite>
</testsuites>
"""

GTEST = b"""<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="3" failures="1" disabled="1" errors="0" time="0.035" timestamp="2026-03-01T10:00:00.000" \
random_seed="42" name="AllTests">
  <testsuite name="Canary" tests="3" failures="1" disabled="1" skipped="0" errors="0" time="0.035" \
timestamp="2026-03-01T10:00:00.000">
    <testcase name="Sings/0" value_param="&apos;a&apos;" type_param="int&amp;" file="canary.cc" line="10" status="run" \
result="completed" time="0.007" timestamp="2026-03-01T10:00:00.000" classname="Canary" />
    <testcase name="Dies" file="canary.cc" line="20" status="run" result="completed" time="0.01" classname="Canary">
      <failure message="canary.cc:21&#x0A;Expected equality of these values:&#x0A;  1&#x0A;  2" type=""><![CDATA[\
canary.cc:21
Expected equality of these values:
  1
  2]]></failure>
    </testcase>
    <testcase name="DISABLED_Sleeps" file="canary.cc" line="30" status="notrun" result="suppressed" time="0." \
classname="Canary" />
  </testsuite>
</testsuites>
"""

PHPUNIT = b"""<?xml version="1.0" encoding="UTF-8"?>
<testsuites>
  <testsuite name="/app/phpunit.xml" tests="2" assertions="3" errors="0" failures="1" skipped="0" time="0.008">
    <testsuite name="unit" tests="2" assertions="3" errors="0" failures="1" skipped="0" time="0.008">
      <testsuite name="Tests\\CanaryTest" file="/app/tests/canaryTest.php" tests="2" assertions="3" failures="1" \
time="0.008">
        <testcase name="testSings with data set &quot;low&quot;" file="/app/tests/canaryTest.php" line="9" \
class="Tests\\CanaryTest" classname="Tests.CanaryTest" assertions="2" time="0.004"/>
        <testcase name="testFlies" file="/app/tests/canaryTest.php" line="15" class="Tests\\CanaryTest" \
classname="Tests.CanaryTest" assertions="1" time="0.004">
          <failure type="PHPUnit\\Framework\\ExpectationFailedException">Failed asserting that false is true.&#13;
</failure>
        </testcase>
      </testsuite>
    </testsuite>
  </testsuite>
</testsuites>
"""

NUNIT = b"""<?xml version="1.0" encoding="utf-8" standalone="no"?>
<testsuites tests="2" failures="0" disabled="0" time="0.5">
  <testsuite tests="2" time="0.5" errors="0" failures="0" skipped="1" package="Canary.Tests.dll" \
timestamp="2026-03-01T10:00:00Z" name="Canary.Tests" id="1-1004">
    <testcase name="Adds(1,&quot;\xce\xa9&quot;,&lt;null&gt;)" assertions="1" time="0.4" status="Passed" \
classname="canary.Tests"/>
    <testcase name="Later" assertions="0" time="0" status="Skipped" classname="canary.Tests"><skipped/></testcase>
  </testsuite>
</testsuites>"""

ROBOT = b"""<?xml version='1.0' encoding='UTF-8'?>
<testsuite name="Canary" tests="2" errors="0" failures="1" skipped="0" time="1.008" timestamp="2026-03-01T10:00:00">
<testsuite name="Login" tests="2" errors="0" failures="1" skipped="0" time="1.008">
<testcase classname="canary.Login" name="Valid &amp; quick" time="0.504"/>
<testcase classname="canary.Login" name="Invalid" time="0.504">
<failure message="'&lt;b&gt;' != '&lt;i&gt;'" type="AssertionError"/>
</testcase>
<properties>
<property name="Suite Source" value="/suites/canary.robot"/>
</properties>
</testsuite>
</testsuite>
"""

PRODUCERS = [
    Document("surefire", SUREFIRE),
    Document("gradle", GRADLE, (b"canary-host", b"canary-hosu")),
    Document("jest-junit", JEST),
    Document("go-junit-report", GO),
    Document("googletest", GTEST),
    Document("phpunit", PHPUNIT),
    Document("nunit-converted", NUNIT),
    Document("robot-xunit", ROBOT),
]


# --- encodings and declarations --------------------------------------------------------------------------------------

_TEXT = '<testsuites><testsuite name="canary"><testcase classname="c" name="{}"/></testsuite></testsuites>'


def _encoded(encoding: str, name: str) -> Document:
    text = f'<?xml version="1.0" encoding="{encoding}"?>\n{_TEXT.format(name)}\n'
    return Document(f"encoding {encoding}", text.encode(encoding))


def _every_character(encoding: str) -> Document:
    """All characters above ASCII of an encoding with one byte for each."""
    numbers = range(0xA0 if encoding.startswith("ISO") else 0x80, 0x100)
    characters = (bytes([number]).decode(encoding, "ignore") for number in numbers)
    document = _encoded(encoding, "".join(characters))
    return Document(f"all of {encoding}", document.data)


ENCODINGS = [
    Document("no declaration", _TEXT.format("plain").encode()),
    Document("no declaration, not ASCII", _TEXT.format("naïve ✓ 😀").encode()),
    Document("declaration without encoding", b'<?xml version="1.0"?>' + _TEXT.format("é").encode()),
    Document(
        "declaration in single quotes", b"<?xml version='1.0'  encoding = 'utf-8' ?>" + _TEXT.format("é").encode()
    ),
    Document("standalone", b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>' + _TEXT.format("é").encode()),
    Document("byte order mark", b"\xef\xbb\xbf" + _TEXT.format("é").encode()),
    Document("byte order mark and declaration", b'\xef\xbb\xbf<?xml version="1.0"?>\r\n' + _TEXT.format("é").encode()),
    _encoded("us-ascii", "plain"),
    _encoded("ISO-8859-1", "café ÿ £"),
    _encoded("ISO-8859-15", "€ œuvre"),
    _encoded("windows-1252", "„smart“ … €"),
    _encoded("koi8-r", "тест"),
    _encoded("gb2312", "测试"),
    _encoded("EUC-KR", "테스트"),
    *(_every_character(f"ISO-8859-{part}") for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 15, 16)),
    *(_every_character(f"windows-{page}") for page in (1250, 1251, 1252, 1253, 1254, 1256, 1257)),
    _every_character("koi8-r"),
    _every_character("koi8-u"),
]

WIDE = [
    Document("UTF-16 with mark", f'<?xml version="1.0" encoding="UTF-16"?>{_TEXT.format("é")}'.encode("utf-16")),
    Document("UTF-16 little-endian", f'<?xml version="1.0"?>{_TEXT.format("é")}'.encode("utf-16-le")),
    Document("UTF-16 big-endian", f'<?xml version="1.0"?>{_TEXT.format("é")}'.encode("utf-16-be")),
    Document("UTF-32", f'<?xml version="1.0" encoding="UTF-32"?>{_TEXT.format("é")}'.encode("utf-32")),
]


def _disputed(encoding: str, characters: bytes) -> Document:
    before, after = _TEXT.format("|").split("|")
    declaration = f'<?xml version="1.0" encoding="{encoding}"?>'
    return Document(f"{encoding} {characters.hex()}", (declaration + before).encode() + characters + after.encode())


# Encodings in which tools read different characters, so that one sees a report as changed that another sees as intact,
# or which a tool does not know at all: each with bytes that show it. The others were compared byte for byte.
DISPUTED = [
    _disputed("Shift_JIS", b"\\"),  # a backslash for Java, a yen sign for libxml2's iconv
    _disputed("Shift_JIS", b"\x81\x5c"),  # one dash or another
    _disputed("EUC-JP", b"\xa1\xbd"),  # the same dash
    _disputed("Big5", b"\xa1\x45"),  # one dot or another, even between two builds of libxml2
    _disputed("windows-1255", b"\xca"),  # a Hebrew vowel that was added late
    _disputed("windows-1258", b"a\xcc"),  # a letter and an accent, or one letter with an accent
    _disputed("GBK", b"\xa8\x92"),
    _disputed("GB18030", b"\xfe\x51"),
    _disputed("EUC-TW", b"\xc2\xc2"),
    _disputed("ISO-8859-10", b"\xbd"),  # unknown to Java, as is the next
    _disputed("ISO-8859-14", b"\xa1"),
]


# --- line ends, text and markup --------------------------------------------------------------------------------------

_LINES = b"""<?xml version="1.0"?>
<testsuites>
  <testsuite name="canary">
    <testcase classname="c" name="one
two"><system-out>first
second

</system-out></testcase>
  </testsuite>
</testsuites>
"""
_ESCAPES = (
    '<testsuites><testsuite name="canary"><testcase classname="&#10;&#9;&#xD;&#13;&#10; &#x20;" name="'
    "tab\there, line\nhere, &lt;&amp;&gt;&quot;&apos;' > &#x1F600; 😀 𐍈 &#x10FFFF; &#x85; \u2028 \u0301"
    '"><system-out>cr:&#13;:lf:&#10;:tab:\t:gt:>:quot:":nel:\u0085:sep:\u2028:last:\ufffd:&#xD7FF;&#xE000;'
    "</system-out></testcase></testsuite></testsuites>"
)
_CDATA = (
    b"<testsuites><testsuite name='canary'><testcase classname='c' name='n'><failure><![CDATA[a ]]]]><![CDATA[> b "
    b"</testsuites> <!-- no comment --> <?no pi?> &amp; ]] > ]]>between<![CDATA[]]><![CDATA[\r\nx\r]]></failure>"
    b"</testcase></testsuite><![CDATA[</testsuites>]]></testsuites>"
)

TEXT = [
    Document("line feeds", _LINES),
    Document("CRLF", _LINES.replace(b"\n", b"\r\n")),
    Document("lone CR", _LINES.replace(b"\n", b"\r")),
    Document("mixed line ends", _LINES.replace(b"\n  ", b"\r\n  ").replace(b"second\n\n", b"second\r\r\n\n\r")),
    Document("escapes in attributes and text", _ESCAPES.encode()),
    Document("escapes in attributes and text, CRLF", _ESCAPES.replace("\n", "\r\n").encode()),
    Document("CDATA", _CDATA),
    Document("a changed character reference", _ESCAPES.encode(), (b"cr:&#13;", b"cr:&#10;")),
    Document("a changed end of CDATA", _CDATA, (b"> b </", b"> c </")),
    Document("a changed line end in an attribute", _ESCAPES.encode(), (b"&#xD;&#13;", b"&#xA;&#13;")),
    Document(
        "angle brackets in attributes",
        b"<testsuites name='/>' id=\"]]>\"><testsuite name='canary --> ?> &lt;/testsuites>'/></testsuites>",
    ),
]


# --- around and inside the root --------------------------------------------------------------------------------------

_BODY = b'<testsuite name="canary"><testcase classname="c" name="n"/></testsuite>'
_PLAIN = b"<testsuites>" + _BODY + b"</testsuites>"

AROUND = [
    Document("comment before the root", b"<!-- made by hand -->\n" + _PLAIN),
    Document("comment after the root", _PLAIN + b"\n<!-- end -->\n"),
    Document("comments with end tags", b"<!-- </testsuites> -->" + _PLAIN + b"<!-- </testsuites> <a></a> -->"),
    Document("comment after the root that ends like a tag", _PLAIN + b"<!-- </testsuites>-->"),
    Document("comment with a signature in it", _PLAIN + b"<!-- <Signature></Signature> -->"),
    Document("instruction before the root", b'<?xml version="1.0"?><?runner made by="hand"?>\n' + _PLAIN),
    Document("instruction after the root", _PLAIN + b"\n<?runner done?>\n"),
    Document("instruction with an end tag", _PLAIN + b"<?p </testsuites><?x ?>"),
    Document("instructions and comments on both sides", b"<?a b?><!--1-->" + _PLAIN + b"<!--2--><?c </testsuites>?>\n"),
    Document("a changed instruction", b"<?runner by canary?>" + _PLAIN, (b"by canary", b"by Canary")),
    Document("trailing newlines", _PLAIN + b"\n\n\r\n \t\n"),
    Document("no trailing newline", _PLAIN),
    Document("space in the end tag", b"<testsuites>" + _BODY + b"</testsuites >\n"),
    Document("newline in the end tag", b"<testsuites\n>" + _BODY + b"</testsuites\n>\n"),
    Document("CRLF in the end tag", b"<testsuites\r\n>" + _BODY + b"</testsuites\r\n\t>\r\n"),
]

# Nothing in these can be changed but by adding to them; a space before the signature is content.
_SPACE = (b"<ds:Signature ", b" <ds:Signature ")

ROOTS = [
    Document("self-closed", b"<testsuites/>", _SPACE, b"<testsuites></testsuites>"),
    Document("self-closed with a space", b"<testsuites />\n", _SPACE, b"<testsuites ></testsuites>\n"),
    Document("self-closed with a newline", b"<testsuites\n/>", _SPACE, b"<testsuites\n></testsuites>"),
    Document(
        "self-closed with attributes", b'<testsuite name="canary"/>', CANARY, b'<testsuite name="canary"></testsuite>'
    ),
    Document(
        "self-closed with brackets in attributes",
        b"<?xml version='1.0'?><!-- <testsuite/> --><testsuite name='canary/>' id=\"'/>'\" /><!-- <a/> -->",
        CANARY,
        b"<?xml version='1.0'?><!-- <testsuite/> --><testsuite name='canary/>' id=\"'/>'\" ></testsuite><!-- <a/> -->",
    ),
    Document(
        "self-closed with a prefix",
        b'<j:testsuites xmlns:j="urn:canary"/>',
        CANARY,
        b'<j:testsuites xmlns:j="urn:canary"></j:testsuites>',
    ),
    Document("empty", b"<testsuites></testsuites>", _SPACE),
    Document("only a comment", b"<testsuites><!-- </testsuites> --></testsuites>", _SPACE),
    Document("only white space", b"<testsuites> \n</testsuites>", (b"<testsuites> ", b"<testsuites>\t")),
    Document(
        "comments in text",
        b'<testsuite name="s"><testcase classname="c" name="n"><failure>ca<!-- x -->nary and <!---->'
        b"canary</failure></testcase><!-- </testsuite> --></testsuite>",
    ),
    Document(
        "300 levels", b"<testsuites>" + b'<testsuite name="s">' * 300 + _BODY + b"</testsuite>" * 300 + b"</testsuites>"
    ),
    Document("xml:lang", b'<testsuites xml:lang="de">' + _BODY + b"</testsuites>"),
    Document("xml:space", b'<testsuites xml:space="preserve"> ' + _BODY + b" </testsuites>"),
    Document("xml:base", b'<testsuites xml:base="https://example.org/a/">' + _BODY + b"</testsuites>"),
    Document("xml:id", b'<testsuites xml:id="canary-1">' + _BODY + b"</testsuites>"),
    Document(
        "all xml attributes",
        b'<testsuites xml:space="default" xml:lang="en" xml:id="a" xml:base="../x">' + _BODY + b"</testsuites>",
    ),
    Document("a changed xml:lang", b'<testsuites xml:lang="de">' + _BODY + b"</testsuites>", (b'"de"', b'"en"')),
    Document("Id", b'<testsuites Id="canary" ID="other" id="third">' + _BODY + b"</testsuites>"),
    Document("default namespace", b'<testsuites xmlns="https://example.org/junit">' + _BODY + b"</testsuites>"),
    Document("default namespace undone", b'<testsuites xmlns="urn:a"><testsuite xmlns="" name="canary"/></testsuites>'),
    Document("prefixed root", b'<j:testsuites xmlns:j="urn:j"><j:testsuite name="canary"/></j:testsuites>'),
    Document(
        "a taken ds prefix",
        b'<testsuites xmlns:ds="urn:other" ds:by="canary"><ds:note>x</ds:note>' + _BODY + b"</testsuites>",
    ),
    Document(
        "a ds prefix taken inside", b'<testsuites><testsuite xmlns:ds="urn:other" ds:a="1" name="canary"/></testsuites>'
    ),
    Document(
        "the ds prefix bound already",
        b'<testsuites xmlns:ds="http://www.w3.org/2000/09/xmldsig#">' + _BODY + b"</testsuites>",
    ),
    Document(
        "the signature's namespace as default of a child",
        b'<testsuites><testsuite name="canary"><x xmlns="'
        b'http://www.w3.org/2000/09/xmldsig#"/></testsuite></testsuites>',
    ),
    Document(
        "unused namespaces",
        b'<testsuites xmlns:b="urn:b" xmlns:a="urn:a" xmlns:xsi="http://www.w3.org/2001/'
        b'XMLSchema-instance">' + _BODY + b"</testsuites>",
    ),
    Document(
        "a changed unused namespace", b'<testsuites xmlns:b="urn:b">' + _BODY + b"</testsuites>", (b"urn:b", b"urn:c")
    ),
    Document(
        "attributes in many namespaces",
        b'<testsuites z="1" a="2" xmlns:b="urn:a" xmlns:a="urn:b" a:q="3" b:q="4" b:a="5">' + _BODY + b"</testsuites>",
    ),
    Document(
        "elements with other letters",
        '<testsuites><prüfung größe="1" ß="2" 名="3"/>'.encode() + _BODY + b"</testsuites>",
    ),
    Document("single quotes", b"<testsuites a='\"' b=\"'\">" + _BODY.replace(b'"', b"'") + b"</testsuites>"),
    Document("spaces in tags", b"<testsuites\n\tname = 'x'\r\n>" + _BODY.replace(b'="', b' = "') + b"</testsuites>"),
]

DOCUMENTS = PRODUCERS + ENCODINGS + TEXT + AROUND + ROOTS


# --- refused ---------------------------------------------------------------------------------------------------------

REFUSED = [
    Document("instruction inside the root", b"<testsuites><?evil x?>" + _BODY + b"</testsuites>"),
    Document("instruction before the end tag", b"<testsuites>" + _BODY + b"<?p </testsuites?></testsuites>"),
    Document("relative namespace", b'<testsuites xmlns:r="relative/name" r:a="1">' + _BODY + b"</testsuites>"),
    Document("DOCTYPE", b"<!DOCTYPE testsuites>" + _PLAIN),
    Document("XML 1.1", b'<?xml version="1.1"?>' + _PLAIN),
    Document("UTF-7", b'<?xml version="1.0" encoding="UTF-7"?>' + _PLAIN),
    Document("ISO-2022-JP", b'<?xml version="1.0" encoding="ISO-2022-JP"?>' + _PLAIN),
]


def one_text_node(size: int) -> bytes:
    """Return a report with one text node of `size` bytes, a multiple of 60."""
    line = b"2026-03-01 10:00:00 DEBUG canary: the same line once again.\n"
    head = b'<?xml version="1.0"?>\n<testsuites><testsuite name="s"><testcase classname="c" name="n"><system-out>'
    return head + line * (size // len(line)) + b"</system-out></testcase></testsuite></testsuites>\n"
