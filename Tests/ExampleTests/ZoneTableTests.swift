import Testing

@testable import timezones_example

@Suite struct ZoneTableTests {
    private static let sample = """
        # tzdb timezone descriptions
        #
        #codes\tcoordinates\tTZ\tcomments

        AD\t+4230+00131\tEurope/Andorra
        CH,DE,LI\t+4723+00832\tEurope/Zurich\tBusingen
        AQ\t-690022+0393524\tAntarctica/Syowa\tSyowa
        """

    private static func line(
        countries: String = "AD", coordinates: String = "+4230+00131", name: String = "Europe/Andorra"
    ) -> ZoneLine {
        ZoneLine(number: 7, countries: countries, coordinates: coordinates, name: name, comments: nil)
    }

    @Test func leavesCommentsAndBlankLinesOutAndKeepsLineNumbers() throws {
        let lines = try ZoneTable.lines(of: Self.sample)
        #expect(lines.map(\.number) == [5, 6, 7])
        #expect(lines.map(\.name) == ["Europe/Andorra", "Europe/Zurich", "Antarctica/Syowa"])
        #expect(lines.map(\.comments) == [nil, "Busingen", "Syowa"])
    }

    @Test func acceptsWindowsLineEndings() throws {
        let text = Self.sample.split(separator: "\n", omittingEmptySubsequences: false).joined(separator: "\r\n")
        #expect(try ZoneTable.lines(of: text) == ZoneTable.lines(of: Self.sample))
    }

    @Test(arguments: ["AD", "AD\t+4230+00131", "AD +4230+00131 Europe/Andorra", "AD\t+4230+00131\tA/B\tc\td"])
    func refusesALineWithTooFewOrTooManyColumns(_ text: String) throws {
        let error = try #require(throws: ZoneTableError.self) { try ZoneTable.lines(of: "# first\n" + text) }
        #expect(error.line == 2)
    }

    @Test func listsEveryCountryOfAZoneThePrincipalFirst() throws {
        let table = try ZoneTable(ZoneTable.lines(of: Self.sample))
        #expect(table.zones.count == 3)
        #expect(
            table.countryZones.filter { $0.zone == "Europe/Zurich" } == [
                CountryZoneRow(country: "CH", zone: "Europe/Zurich", isPrincipal: true),
                CountryZoneRow(country: "DE", zone: "Europe/Zurich", isPrincipal: false),
                CountryZoneRow(country: "LI", zone: "Europe/Zurich", isPrincipal: false),
            ]
        )
    }

    /// Expected values in seconds of arc, north and east positive.
    private static let readable: [(text: String, latitude: Int, longitude: Int)] = [
        ("+4230+00131", 153_000, 5_460),
        ("-690022+0393524", -248_422, 142_524),
        ("+9000-18000", 324_000, -648_000),
        ("-0000+00000", 0, 0),
        ("-0001-00030", -60, -1_800),
    ]

    @Test(arguments: Self.readable)
    func turnsDegreesMinutesAndSecondsIntoDecimalDegrees(_ text: String, latitude: Int, longitude: Int) throws {
        let coordinates = try #require(Coordinates(iso6709: text))
        #expect(abs(coordinates.latitude * 3600 - Double(latitude)) < 1e-6)
        #expect(abs(coordinates.longitude * 3600 - Double(longitude)) < 1e-6)
    }

    @Test(arguments: [
        "", "+4230", "4230+00131", "+4230 00131", "+42300+0131", "+4260+00131", "+4230+00160", "+9001+00000",
        "+0000+18001", "+900001+0000000", "+000060+0000000", "+42x0+00131", "+4230+0013100", "+423000+00131",
        "+٤٢٣٠+00131", "+4230+001310",
    ])
    func refusesCoordinatesThatAreMalformedOrOffTheGlobe(_ text: String) {
        #expect(Coordinates(iso6709: text) == nil)
        #expect(throws: ZoneTableError(.invalidCoordinates(text), line: 7)) {
            try ZoneTable([Self.line(coordinates: text)])
        }
    }

    @Test(arguments: [("", ""), ("ad", "ad"), ("AD,", ""), ("A", "A"), ("AND", "AND"), ("CH,CH", "CH"), ("ÄD", "ÄD")])
    func refusesACountryThatIsNoCodeOrListedTwice(_ countries: String, reported: String) {
        #expect(throws: ZoneTableError(.invalidCountry(reported), line: 7)) {
            try ZoneTable([Self.line(countries: countries)])
        }
    }

    @Test(arguments: ["", "Andorra", "Europe/", "/Andorra", "Europe//Andorra", "Europe/And orra", "Europe/'; DROP"])
    func refusesANameThatIsNoTimeZoneName(_ name: String) {
        #expect(throws: ZoneTableError(.invalidZoneName(name), line: 7)) {
            try ZoneTable([Self.line(name: name)])
        }
    }

    @Test func refusesAZoneThatIsListedTwice() {
        #expect(throws: ZoneTableError(.duplicateZone("Europe/Andorra"), line: 7)) {
            try ZoneTable([Self.line(), Self.line()])
        }
    }

    @Test func errorsNameTheLineAndTheReason() {
        let error = ZoneTableError(.invalidCoordinates("here"), line: 12)
        #expect("\(error)" == "line 12: 'here' is neither ±DDMM±DDDMM nor ±DDMMSS±DDDMMSS on the globe")
    }
}
