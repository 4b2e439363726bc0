import java.io.File;
import java.io.FileInputStream;
import java.security.PublicKey;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.List;

import javax.xml.XMLConstants;
import javax.xml.crypto.KeySelector;
import javax.xml.crypto.MarshalException;
import javax.xml.crypto.dsig.Reference;
import javax.xml.crypto.dsig.XMLSignature;
import javax.xml.crypto.dsig.XMLSignatureException;
import javax.xml.crypto.dsig.XMLSignatureFactory;
import javax.xml.crypto.dsig.dom.DOMValidateContext;
import javax.xml.parsers.DocumentBuilder;
import javax.xml.parsers.DocumentBuilderFactory;
import javax.xml.parsers.ParserConfigurationException;

import org.w3c.dom.Document;
import org.w3c.dom.Element;
import org.w3c.dom.NodeList;
import org.xml.sax.ErrorHandler;
import org.xml.sax.SAXException;
import org.xml.sax.SAXParseException;

/**
 * Judges signed reports with the JDK's own XML signature support, in secure validation.
 *
 * <p>Run as {@code java VerifyReports.java cert.pem report.xml...}. One line for each report:
 * {@code valid|broken|error <TAB> reason <TAB> file}. The exit status is 0 if all are valid, 1 if one is not, 2 for a
 * wrong call. The key is that of the certificate given; what a document says about keys is never used.
 */
public final class VerifyReports {

    private VerifyReports() {
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length < 2) {
            System.err.println("usage: java VerifyReports.java cert.pem report.xml...");
            System.exit(2);
        }
        allowLargeReports();
        PublicKey key = readKey(arguments[0]);
        DocumentBuilder builder = hardenedBuilder();
        boolean all = true;
        for (int i = 1; i < arguments.length; i++) {
            String[] verdict = judge(builder, key, arguments[i]);
            all &= verdict[0].equals("valid");
            System.out.println(verdict[0] + "\t" + verdict[1].replaceAll("\\s+", " ") + "\t" + arguments[i]);
        }
        System.exit(all ? 0 : 1);
    }

    /** Lifts the limits on sizes that secure processing brings: a test's captured output can be one huge text node. */
    private static void allowLargeReports() {
        String[] limits = {
            "maxGeneralEntitySizeLimit", "totalEntitySizeLimit", "maxElementDepth", "elementAttributeLimit",
        };
        for (String limit : limits) {
            System.setProperty("jdk.xml." + limit, "0");
        }
    }

    private static PublicKey readKey(String path) throws Exception {
        try (FileInputStream stream = new FileInputStream(path)) {
            X509Certificate certificate =
                (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(stream);
            certificate.checkValidity();
            return certificate.getPublicKey();
        }
    }

    private static DocumentBuilder hardenedBuilder() throws ParserConfigurationException {
        DocumentBuilderFactory factory = DocumentBuilderFactory.newInstance();
        factory.setNamespaceAware(true);
        factory.setXIncludeAware(false);
        factory.setExpandEntityReferences(false);
        factory.setFeature(XMLConstants.FEATURE_SECURE_PROCESSING, true);
        factory.setFeature("http://apache.org/xml/features/disallow-doctype-decl", true);
        factory.setFeature("http://xml.org/sax/features/external-general-entities", false);
        factory.setFeature("http://xml.org/sax/features/external-parameter-entities", false);
        factory.setAttribute(XMLConstants.ACCESS_EXTERNAL_DTD, "");
        factory.setAttribute(XMLConstants.ACCESS_EXTERNAL_SCHEMA, "");
        DocumentBuilder builder = factory.newDocumentBuilder();
        builder.setErrorHandler(new Strict());
        return builder;
    }

    private static String[] judge(DocumentBuilder builder, PublicKey key, String path) {
        try {
            Document document = builder.parse(new File(path));
            List<Element> signatures = signaturesOf(document);
            if (signatures.size() != 1) {
                return verdict("error", signatures.size() + " signatures");
            }
            if (signatures.get(0).getParentNode() != document.getDocumentElement()) {
                return verdict("error", "the signature is not a child of the root");
            }
            return validate(signatures.get(0), key);
        } catch (Exception | StackOverflowError problem) {
            return verdict("error", problem.getClass().getSimpleName() + ": " + problem.getMessage());
        }
    }

    private static List<Element> signaturesOf(Document document) {
        NodeList found = document.getElementsByTagNameNS(XMLSignature.XMLNS, "Signature");
        List<Element> signatures = new ArrayList<>();
        for (int i = 0; i < found.getLength(); i++) {
            signatures.add((Element) found.item(i));
        }
        return signatures;
    }

    private static String[] validate(Element element, PublicKey key) throws MarshalException, XMLSignatureException {
        DOMValidateContext context = new DOMValidateContext(KeySelector.singletonKeySelector(key), element);
        context.setProperty("org.jcp.xml.dsig.secureValidation", Boolean.TRUE);
        XMLSignature signature = XMLSignatureFactory.getInstance("DOM").unmarshalXMLSignature(context);
        List<Reference> references = signature.getSignedInfo().getReferences();
        if (references.size() != 1 || !"".equals(references.get(0).getURI())) {
            return verdict("error", "the signature does not refer to the whole document, once");
        }
        if (!signature.getSignatureValue().validate(context)) {
            return verdict("broken", "the signature value is wrong");
        }
        if (!references.get(0).validate(context)) {
            return verdict("broken", "the digest is wrong");
        }
        return signature.validate(context) ? verdict("valid", "") : verdict("broken", "core validation failed");
    }

    private static String[] verdict(String word, String reason) {
        return new String[] {word, reason};
    }

    /** Makes parser errors exceptions, without the parser's own lines on standard error. */
    private static final class Strict implements ErrorHandler {
        @Override
        public void warning(SAXParseException problem) throws SAXException {
            throw problem;
        }

        @Override
        public void error(SAXParseException problem) throws SAXException {
            throw problem;
        }

        @Override
        public void fatalError(SAXParseException problem) throws SAXException {
            throw problem;
        }
    }
}
