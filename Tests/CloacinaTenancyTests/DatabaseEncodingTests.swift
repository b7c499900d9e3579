import CloacinaPostgres
import Testing

@testable import CloacinaTenancy

/// What is said of a database that can't hold every text.
@Suite struct DatabaseEncodingTests {
    @Test(arguments: ["C", "POSIX", "C.UTF-8", "C.utf8", "en_US.UTF-8", "de_DE.utf8", "English_United States.UTF8"])
    func aLocaleThatGoesWithUTF8IsLeftToTheServer(locale: String) {
        let encoding = DatabaseEncoding(name: "LATIN1", templateLocale: locale)
        #expect(
            encoding.creation(of: "app", owner: "admin")
                == "CREATE DATABASE \"app\" OWNER \"admin\" TEMPLATE template0 ENCODING 'UTF8'")
    }

    @Test(arguments: ["de_DE.ISO-8859-1", "en_US", "ja_JP.eucJP", ""])
    func aLocaleOfAnotherEncodingIsReplaced(locale: String) {
        let encoding = DatabaseEncoding(name: "LATIN1", templateLocale: locale)
        #expect(
            encoding.creation(of: "my \"app\"", owner: "admin")
                == "CREATE DATABASE \"my \"\"app\"\"\" OWNER \"admin\" TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'")
    }
}
