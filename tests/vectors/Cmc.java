import java.io.ByteArrayInputStream;
import java.math.BigInteger;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.SecureRandom;
import java.security.Security;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.List;
import org.bouncycastle.asn1.*;
import org.bouncycastle.asn1.cmc.*;
import org.bouncycastle.asn1.x500.X500Name;
import org.bouncycastle.asn1.x509.CRLReason;
import org.bouncycastle.cert.jcajce.JcaCertStore;
import org.bouncycastle.cms.*;
import org.bouncycastle.cms.jcajce.JcaSignerInfoGeneratorBuilder;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;
import org.bouncycastle.operator.jcajce.JcaDigestCalculatorProviderBuilder;

/** Writes a request to revoke and its answer, signed by the certificate that make.py left in the folder. */
class Cmc {
    static final BigInteger TRANSACTION = BigInteger.valueOf(0x1267);

    static TaggedAttribute control(int number, ASN1ObjectIdentifier type, ASN1Encodable value) {
        return new TaggedAttribute(new BodyPartID(number), type, new DERSet(value));
    }

    static byte[] signed(ASN1ObjectIdentifier type, byte[] content, X509Certificate signer, PrivateKey key) throws Exception {
        CMSSignedDataGenerator generator = new CMSSignedDataGenerator();
        generator.addSignerInfoGenerator(
            new JcaSignerInfoGeneratorBuilder(new JcaDigestCalculatorProviderBuilder().build())
                .build(new JcaContentSignerBuilder("SHA256withECDSA").build(key), signer));
        generator.addCertificates(new JcaCertStore(List.of(signer)));
        return generator.generate(new CMSProcessableByteArray(type, content), true)
            .toASN1Structure().getEncoded(ASN1Encoding.DER);
    }

    public static void main(String[] arguments) throws Exception {
        Path folder = Path.of(arguments[0]);
        Security.addProvider(new BouncyCastleProvider());
        X509Certificate signer = (X509Certificate) CertificateFactory.getInstance("X.509")
            .generateCertificate(new ByteArrayInputStream(Files.readAllBytes(folder.resolve("signer-cert.der"))));
        PrivateKey key = KeyFactory.getInstance("EC")
            .generatePrivate(new PKCS8EncodedKeySpec(Files.readAllBytes(Path.of(arguments[1]))));
        byte[] nonce = new byte[16];
        new SecureRandom().nextBytes(nonce);

        RevokeRequest revoke = new RevokeRequest(
            X500Name.getInstance(signer.getIssuerX500Principal().getEncoded()),
            new ASN1Integer(signer.getSerialNumber()),
            CRLReason.lookup(CRLReason.keyCompromise), null, null,
            new DERUTF8String("device decommissioned"));
        byte[] request = new PKIData(
            new TaggedAttribute[] {
                control(1, CMCObjectIdentifiers.id_cmc_transactionId, new ASN1Integer(TRANSACTION)),
                control(2, CMCObjectIdentifiers.id_cmc_senderNonce, new DEROctetString(nonce)),
                control(3, CMCObjectIdentifiers.id_cmc_revokeRequest, revoke),
            },
            new TaggedRequest[0], new TaggedContentInfo[0], new OtherMsg[0]).getEncoded(ASN1Encoding.DER);
        Files.write(folder.resolve("revoke-request.pkidata.der"), request);
        Files.write(folder.resolve("revoke-request.signed.der"),
            signed(CMCObjectIdentifiers.id_cct_PKIData, request, signer, key));

        CMCStatusInfoV2 status = new CMCStatusInfoV2Builder(CMCStatus.success, new BodyPartID(0))
            .setStatusString("revoked").build();
        // PKIResponse (RFC 5272 3.3): its class in Bouncy Castle only reads.
        byte[] response = new DERSequence(new ASN1Encodable[] {
            new DERSequence(new ASN1Encodable[] {
                control(1, CMCObjectIdentifiers.id_cmc_transactionId, new ASN1Integer(TRANSACTION)),
                control(2, CMCObjectIdentifiers.id_cmc_recipientNonce, new DEROctetString(nonce)),
                control(3, CMCObjectIdentifiers.id_cmc_statusInfoV2, status),
            }),
            new DERSequence(), new DERSequence()}).getEncoded(ASN1Encoding.DER);
        Files.write(folder.resolve("response-success.signed.der"),
            signed(CMCObjectIdentifiers.id_cct_PKIResponse, response, signer, key));
    }
}
